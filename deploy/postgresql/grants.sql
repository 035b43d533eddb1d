-- What the logins c4 and c4_web may do. Run by a DBA after tables.sql and views.sql.

GRANT USAGE ON SCHEMA imaging TO c4;

GRANT SELECT ON imaging.plates TO c4;
GRANT SELECT ON imaging.inspections TO c4;
GRANT SELECT ON imaging.images TO c4;
GRANT SELECT ON imaging.score_classes TO c4;
GRANT SELECT ON imaging.human_scores TO c4;
GRANT SELECT, INSERT ON imaging.c4_scorer_versions TO c4;
GRANT SELECT, INSERT, UPDATE ON imaging.c4_models TO c4;
GRANT SELECT, INSERT, UPDATE, DELETE ON imaging.scores TO c4;
GRANT SELECT, INSERT ON imaging.c4_superseded_scores TO c4;
GRANT SELECT, INSERT, UPDATE, DELETE ON imaging.c4_image_failures TO c4;
GRANT SELECT, INSERT, UPDATE, DELETE ON imaging.c4_withheld_inspections TO c4;
-- Read for backups, and for the names of people.
GRANT SELECT ON imaging.c4_people TO c4;
GRANT SELECT ON imaging.c4_person_aliases TO c4;
GRANT SELECT ON imaging.c4_sessions TO c4;
GRANT SELECT ON imaging.c4_api_tokens TO c4;
GRANT SELECT ON imaging.c4_score_requests TO c4;
GRANT SELECT ON imaging.c4_class_display TO c4;
GRANT SELECT ON imaging.c4_favourites TO c4;
GRANT SELECT ON imaging.c4_notes TO c4;
GRANT SELECT ON imaging.c4_tags TO c4;
GRANT SELECT ON imaging.c4_audit TO c4;

-- The login of C4's pages and of `c4 people`: it reads, enters what people say, and keeps what belongs to people.
GRANT USAGE ON SCHEMA imaging TO c4_web;

GRANT SELECT ON imaging.plates TO c4_web;
GRANT SELECT ON imaging.inspections TO c4_web;
GRANT SELECT ON imaging.images TO c4_web;
GRANT SELECT ON imaging.score_classes TO c4_web;
GRANT SELECT ON imaging.human_scores TO c4_web;
GRANT SELECT ON imaging.c4_scorer_versions TO c4_web;
GRANT SELECT ON imaging.c4_models TO c4_web;
GRANT SELECT, INSERT ON imaging.scores TO c4_web;
GRANT SELECT ON imaging.c4_superseded_scores TO c4_web;
GRANT SELECT ON imaging.c4_image_failures TO c4_web;
GRANT SELECT ON imaging.c4_withheld_inspections TO c4_web;
GRANT SELECT, INSERT, UPDATE ON imaging.c4_people TO c4_web;
GRANT SELECT, INSERT, DELETE ON imaging.c4_person_aliases TO c4_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON imaging.c4_sessions TO c4_web;
GRANT SELECT, INSERT, UPDATE ON imaging.c4_api_tokens TO c4_web;
GRANT SELECT, INSERT ON imaging.c4_score_requests TO c4_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON imaging.c4_class_display TO c4_web;
GRANT SELECT, INSERT, DELETE ON imaging.c4_favourites TO c4_web;
GRANT SELECT, INSERT, UPDATE ON imaging.c4_notes TO c4_web;
GRANT SELECT, INSERT, DELETE ON imaging.c4_tags TO c4_web;
GRANT SELECT, INSERT ON imaging.c4_audit TO c4_web;

-- The LIMS shows the machine's scores beside its own.
GRANT USAGE ON SCHEMA imaging TO lims;
GRANT SELECT ON imaging.scores TO lims;
