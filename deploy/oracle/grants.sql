-- What the login c4 may do, and the names under which it finds it. Run by a DBA after tables.sql and views.sql.

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

-- The LIMS enters what people say of a drop as rows without a scorer_version, and shows the machine's.
GRANT SELECT, INSERT ON c4_owner.scores TO lims;
