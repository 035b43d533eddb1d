-- Three roles, made by a DBA: imaging_owner holds C4's tables and the views over the LIMS and cannot log in; c4 logs in
-- and may do what C4's runs do and nothing else; c4_web is the login of C4's pages, and may not touch what the runs write.
-- Names and passwords are examples.

CREATE ROLE imaging_owner NOLOGIN;
CREATE ROLE c4 LOGIN PASSWORD 'a password of your own';
CREATE ROLE c4_web LOGIN PASSWORD 'another password of your own';

CREATE SCHEMA imaging AUTHORIZATION imaging_owner;
ALTER ROLE c4 SET search_path = imaging;
ALTER ROLE c4_web SET search_path = imaging;

-- What the views of views.sql read. c4 itself needs no right to the LIMS: a view reads with its owner's.
GRANT USAGE ON SCHEMA lims TO imaging_owner;
GRANT SELECT ON lims.plate, lims.imaging, lims.imaging_profile, lims.picture TO imaging_owner;
GRANT SELECT ON lims.drop_class, lims.drop_score, lims.person TO imaging_owner;
