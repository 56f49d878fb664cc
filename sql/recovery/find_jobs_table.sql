-- purpose: whether this database has pg_cron's table of jobs: the extension's own, not something that somebody else has named so
-- columns: found bool
-- privilege: none
-- source: pg_cron 1.6, README; PostgreSQL 17, pg_depend.deptype
SELECT EXISTS (
    SELECT
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_catalog.pg_class AS c ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
    WHERE e.extname = 'pg_cron' AND c.oid = pg_catalog.to_regclass('cron.job') AND c.relkind = 'r'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid IN (c.relowner, e.extowner) AND NOT r.rolsuper)
) AS found;
