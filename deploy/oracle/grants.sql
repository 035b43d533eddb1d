-- What the logins c4 and c4_web may do, and the names under which they find it. Run by a DBA after tables.sql and views.sql.

GRANT SELECT ON c4_owner.plates TO c4;
GRANT SELECT ON c4_owner.inspections TO c4;
GRANT SELECT ON c4_owner.images TO c4;
GRANT SELECT ON c4_owner.score_classes TO c4;
GRANT SELECT, INSERT ON c4_owner.c4_scorer_versions TO c4;
GRANT SELECT, INSERT, UPDATE ON c4_owner.c4_models TO c4;
GRANT SELECT, INSERT, UPDATE, DELETE ON c4_owner.scores TO c4;
GRANT SELECT, INSERT ON c4_owner.c4_superseded_scores TO c4;
GRANT SELECT, INSERT, UPDATE, DELETE ON c4_owner.c4_image_failures TO c4;
GRANT SELECT, INSERT, UPDATE, DELETE ON c4_owner.c4_withheld_inspections TO c4;
-- Read for backups, and for the names of people.
GRANT SELECT ON c4_owner.c4_people TO c4;
GRANT SELECT ON c4_owner.c4_person_aliases TO c4;
GRANT SELECT ON c4_owner.c4_sessions TO c4;
GRANT SELECT ON c4_owner.c4_api_tokens TO c4;
GRANT SELECT ON c4_owner.c4_score_requests TO c4;
GRANT SELECT ON c4_owner.c4_class_display TO c4;
GRANT SELECT ON c4_owner.c4_favourites TO c4;
GRANT SELECT ON c4_owner.c4_notes TO c4;
GRANT SELECT ON c4_owner.c4_tags TO c4;
GRANT SELECT ON c4_owner.c4_audit TO c4;

-- The login of C4's pages and of `c4 people`: it reads, enters what people say, and keeps what belongs to people.
GRANT SELECT ON c4_owner.plates TO c4_web;
GRANT SELECT ON c4_owner.inspections TO c4_web;
GRANT SELECT ON c4_owner.images TO c4_web;
GRANT SELECT ON c4_owner.score_classes TO c4_web;
GRANT SELECT ON c4_owner.c4_scorer_versions TO c4_web;
GRANT SELECT ON c4_owner.c4_models TO c4_web;
GRANT SELECT, INSERT ON c4_owner.scores TO c4_web;
GRANT SELECT ON c4_owner.c4_superseded_scores TO c4_web;
GRANT SELECT ON c4_owner.c4_image_failures TO c4_web;
GRANT SELECT ON c4_owner.c4_withheld_inspections TO c4_web;
GRANT SELECT, INSERT, UPDATE ON c4_owner.c4_people TO c4_web;
GRANT SELECT, INSERT, DELETE ON c4_owner.c4_person_aliases TO c4_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON c4_owner.c4_sessions TO c4_web;
GRANT SELECT, INSERT, UPDATE ON c4_owner.c4_api_tokens TO c4_web;
GRANT SELECT, INSERT ON c4_owner.c4_score_requests TO c4_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON c4_owner.c4_class_display TO c4_web;
GRANT SELECT, INSERT, DELETE ON c4_owner.c4_favourites TO c4_web;
GRANT SELECT, INSERT, UPDATE ON c4_owner.c4_notes TO c4_web;
GRANT SELECT, INSERT, DELETE ON c4_owner.c4_tags TO c4_web;
GRANT SELECT, INSERT ON c4_owner.c4_audit TO c4_web;

CREATE SYNONYM c4.plates FOR c4_owner.plates;
CREATE SYNONYM c4.inspections FOR c4_owner.inspections;
CREATE SYNONYM c4.images FOR c4_owner.images;
CREATE SYNONYM c4.score_classes FOR c4_owner.score_classes;
CREATE SYNONYM c4.c4_scorer_versions FOR c4_owner.c4_scorer_versions;
CREATE SYNONYM c4.c4_models FOR c4_owner.c4_models;
CREATE SYNONYM c4.c4_superseded_scores FOR c4_owner.c4_superseded_scores;
CREATE SYNONYM c4.scores FOR c4_owner.scores;
CREATE SYNONYM c4.c4_image_failures FOR c4_owner.c4_image_failures;
CREATE SYNONYM c4.c4_withheld_inspections FOR c4_owner.c4_withheld_inspections;
CREATE SYNONYM c4.c4_people FOR c4_owner.c4_people;
CREATE SYNONYM c4.c4_person_aliases FOR c4_owner.c4_person_aliases;
CREATE SYNONYM c4.c4_sessions FOR c4_owner.c4_sessions;
CREATE SYNONYM c4.c4_api_tokens FOR c4_owner.c4_api_tokens;
CREATE SYNONYM c4.c4_score_requests FOR c4_owner.c4_score_requests;
CREATE SYNONYM c4.c4_class_display FOR c4_owner.c4_class_display;
CREATE SYNONYM c4.c4_favourites FOR c4_owner.c4_favourites;
CREATE SYNONYM c4.c4_notes FOR c4_owner.c4_notes;
CREATE SYNONYM c4.c4_tags FOR c4_owner.c4_tags;
CREATE SYNONYM c4.c4_audit FOR c4_owner.c4_audit;

CREATE SYNONYM c4_web.plates FOR c4_owner.plates;
CREATE SYNONYM c4_web.inspections FOR c4_owner.inspections;
CREATE SYNONYM c4_web.images FOR c4_owner.images;
CREATE SYNONYM c4_web.score_classes FOR c4_owner.score_classes;
CREATE SYNONYM c4_web.c4_scorer_versions FOR c4_owner.c4_scorer_versions;
CREATE SYNONYM c4_web.c4_models FOR c4_owner.c4_models;
CREATE SYNONYM c4_web.scores FOR c4_owner.scores;
CREATE SYNONYM c4_web.c4_superseded_scores FOR c4_owner.c4_superseded_scores;
CREATE SYNONYM c4_web.c4_image_failures FOR c4_owner.c4_image_failures;
CREATE SYNONYM c4_web.c4_withheld_inspections FOR c4_owner.c4_withheld_inspections;
CREATE SYNONYM c4_web.c4_people FOR c4_owner.c4_people;
CREATE SYNONYM c4_web.c4_person_aliases FOR c4_owner.c4_person_aliases;
CREATE SYNONYM c4_web.c4_sessions FOR c4_owner.c4_sessions;
CREATE SYNONYM c4_web.c4_api_tokens FOR c4_owner.c4_api_tokens;
CREATE SYNONYM c4_web.c4_score_requests FOR c4_owner.c4_score_requests;
CREATE SYNONYM c4_web.c4_class_display FOR c4_owner.c4_class_display;
CREATE SYNONYM c4_web.c4_favourites FOR c4_owner.c4_favourites;
CREATE SYNONYM c4_web.c4_notes FOR c4_owner.c4_notes;
CREATE SYNONYM c4_web.c4_tags FOR c4_owner.c4_tags;
CREATE SYNONYM c4_web.c4_audit FOR c4_owner.c4_audit;

-- The LIMS enters what people say of a drop as rows without a scorer_version, and shows the machine's.
GRANT SELECT, INSERT ON c4_owner.scores TO lims;
