-- Indexes on the LIMS's own tables, made by their owner. In production: CREATE INDEX CONCURRENTLY, one at a time.
--
-- C4 asks for times in UTC without an offset. An index on a timestamptz does not answer that, one on the same expression
-- as in the view does. The poll looks images up by inspection, and Ashes human scores by time and by image.

CREATE INDEX imaging_started_at_utc ON lims.imaging ((started_at AT TIME ZONE 'UTC'));
CREATE INDEX picture_of_imaging ON lims.picture (imaging_id, picture_id);
CREATE INDEX drop_score_given_at_utc ON lims.drop_score ((given_at AT TIME ZONE 'UTC'));
CREATE INDEX drop_score_of_picture ON lims.drop_score (picture_id);
