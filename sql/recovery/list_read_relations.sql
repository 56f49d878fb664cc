-- purpose: what a view reads, directly or through other views
-- params: oid bigint
-- columns: oid bigint
-- privilege: none
-- source: PostgreSQL 17, pg_rewrite, pg_depend
WITH RECURSIVE reading (oid) AS (
    SELECT :oid::oid
    UNION
    SELECT d.refobjid
    FROM reading AS v
    JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.oid
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    WHERE d.refclassid = 'pg_catalog.pg_class'::regclass
)
SELECT v.oid::bigint AS oid FROM reading AS v WHERE v.oid <> :oid::oid;
