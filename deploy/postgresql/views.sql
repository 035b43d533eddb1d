-- Views over an invented LIMS: put your tables and columns in the place of lims.*. Run by a DBA after
--   SET ROLE imaging_owner; SET search_path = imaging;
--
-- Keep keys bare where C4 looks rows up: plate_id, imaging_id, picture_id. A function around one hides its index; where
-- there must be one, as for times, the index is on the same expression (indexes.sql).

CREATE VIEW plates AS
SELECT p.plate_id AS id, p.barcode
FROM lims.plate p;

-- UTC without an offset. A timestamptz knows its moment; of a local time without an offset say first which zone it is in:
-- started_at AT TIME ZONE 'Europe/London' AT TIME ZONE 'UTC'.
CREATE VIEW inspections AS
SELECT i.imaging_id AS id, i.plate_id, i.started_at AT TIME ZONE 'UTC' AS imaged_at, i.imager
FROM lims.imaging i;

-- Only what was photographed in visible light: the model knows nothing else, and ultraviolet or second-harmonic pictures
-- of the same drop would be scored as if it did. The path is relative to C4_STORE_URL, with forward slashes. Rows of a
-- 1536-well plate go on after Z with AA.
CREATE VIEW images AS
SELECT
    p.picture_id AS id,
    p.imaging_id AS inspection_id,
    CASE WHEN p.well_row > 26 THEN 'A' ELSE '' END || chr(65 + (p.well_row - 1) % 26)
        || lpad(p.well_column::text, 2, '0') AS well,
    p.sub_well AS drop_number,
    replace(p.file, '\', '/') AS path
FROM lims.picture p
JOIN lims.imaging_profile f ON f.profile_id = p.profile_id
WHERE f.light = 'visible';

-- To which of the four categories each of the site's classes belongs; NULL says nothing of the drop. It is data: edit it.
CREATE TABLE class_categories (
    class_name text PRIMARY KEY,
    category text CHECK (category IN ('clear', 'crystals', 'other', 'precipitate'))
);

INSERT INTO class_categories VALUES
    ('single crystal', 'crystals'),
    ('needles', 'crystals'),
    ('microcrystals', 'crystals'),
    ('light precipitate', 'precipitate'),
    ('heavy precipitate', 'precipitate'),
    ('phase separation', 'other'),
    ('clear drop', 'clear'),
    ('bad image', NULL);

-- Machine scores need four classes that are called like the categories, and C4's pages one for a score that was
-- taken back. Here they have numbers that no LIMS uses.
CREATE VIEW score_classes AS
SELECT c.class_id::bigint AS id, c.class_name AS name, m.category
FROM lims.drop_class c LEFT JOIN class_categories m ON m.class_name = c.class_name
UNION ALL
SELECT * FROM (VALUES (-1, 'clear', 'clear'), (-2, 'crystals', 'crystals'), (-3, 'other', 'other'),
    (-4, 'precipitate', 'precipitate'), (-5, 'withdrawn', NULL)) AS machine (id, name, category);

-- What people say stays in the LIMS's own table, and is read there: no trigger, no copy. Machine scores, and what people
-- say on C4's pages, are in the table scores (tables.sql), which the LIMS may read; no row of it belongs into this view.
CREATE VIEW human_scores AS
SELECT
    s.score_id AS id,
    s.picture_id AS image_id,
    s.class_id AS score_class_id,
    p.login AS scorer,
    s.given_at AT TIME ZONE 'UTC' AS scored_at
FROM lims.drop_score s
JOIN lims.person p ON p.person_id = s.person_id;
