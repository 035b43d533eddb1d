-- What the login c4 may do. Run by a DBA after tables.sql and views.sql.

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

-- The LIMS shows the machine's scores beside its own.
GRANT USAGE ON SCHEMA imaging TO lims;
GRANT SELECT ON imaging.scores TO lims;
