-- Three accounts, made by a DBA: c4_owner holds C4's tables and the views over the LIMS and cannot log in; c4 logs in and
-- may do what C4's runs do and nothing else; c4_web is the login of C4's pages, and may not touch what the runs write.
-- Names, tablespace and quota are examples. Oracle 18c or newer.
--
-- A score takes about 200 bytes with its indexes: 10 GB are enough for 50 million.

CREATE USER c4_owner NO AUTHENTICATION DEFAULT TABLESPACE users QUOTA 20G ON users;

CREATE USER c4 IDENTIFIED BY "a password of your own" DEFAULT TABLESPACE users;

CREATE USER c4_web IDENTIFIED BY "another password of your own" DEFAULT TABLESPACE users;

GRANT CREATE SESSION TO c4;
GRANT CREATE SESSION TO c4_web;

-- What the views of views.sql read. «With grant option», because c4_owner passes it on to c4 through them.
GRANT SELECT ON lims.plate TO c4_owner WITH GRANT OPTION;
GRANT SELECT ON lims.imaging_task TO c4_owner WITH GRANT OPTION;
GRANT SELECT ON lims.drop_image TO c4_owner WITH GRANT OPTION;
GRANT SELECT ON lims.score_option TO c4_owner WITH GRANT OPTION;
