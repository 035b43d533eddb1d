-- Views over an invented LIMS: put your tables and columns in the place of lims.*. Run by a DBA after
--   ALTER SESSION SET CURRENT_SCHEMA = c4_owner;
--
-- Keep an indexed column of the LIMS bare where C4 looks rows up: plate_id, date_imaged, task_id, image_id. A function
-- around it hides the index. Times are UTC: a LIMS that stores local time needs a column of its own for it, with an index.

CREATE VIEW plates AS
SELECT p.plate_id AS id, p.barcode AS barcode
FROM lims.plate p;

CREATE VIEW inspections AS
SELECT t.task_id AS id, t.plate_id AS plate_id, t.date_imaged AS imaged_at, t.imager_name AS imager
FROM lims.imaging_task t;

-- The path is relative to C4_STORE_URL, with forward slashes.
CREATE VIEW images AS
SELECT
    d.image_id AS id,
    d.task_id AS inspection_id,
    d.well_name AS well,
    d.drop_number AS drop_number,
    d.relative_path AS path
FROM lims.drop_image d;

-- To which of the four categories each of the site's classes belongs; NULL says nothing of the drop. It is data: edit it.
CREATE TABLE class_categories (
    class_name VARCHAR(64) NOT NULL PRIMARY KEY,
    category VARCHAR(16)
);

INSERT INTO class_categories VALUES ('single crystal', 'crystals');
INSERT INTO class_categories VALUES ('needles', 'crystals');
INSERT INTO class_categories VALUES ('microcrystals', 'crystals');
INSERT INTO class_categories VALUES ('light precipitate', 'precipitate');
INSERT INTO class_categories VALUES ('heavy precipitate', 'precipitate');
INSERT INTO class_categories VALUES ('phase separation', 'other');
INSERT INTO class_categories VALUES ('clear drop', 'clear');
INSERT INTO class_categories VALUES ('bad image', NULL);

-- Machine scores need four classes that are called like the categories, and C4's pages one for a score that was
-- taken back. Here they have numbers that no LIMS uses.
CREATE VIEW score_classes AS
SELECT o.option_id AS id, o.option_name AS name, c.category AS category
FROM lims.score_option o LEFT JOIN class_categories c ON c.class_name = o.option_name
UNION ALL SELECT -1, 'clear', 'clear' FROM dual
UNION ALL SELECT -2, 'crystals', 'crystals' FROM dual
UNION ALL SELECT -3, 'other', 'other' FROM dual
UNION ALL SELECT -4, 'precipitate', 'precipitate' FROM dual
UNION ALL SELECT -5, 'withdrawn', NULL FROM dual;

-- Where what people say stays in a table of the LIMS, add a view human_scores (id, image_id, score_class_id, scorer,
-- scored_at) as in deploy/postgresql/views.sql, with GRANT SELECT and a synonym for c4.
