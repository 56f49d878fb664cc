-- purpose: views and materialized views that read these tables, directly or through another view: a DROP … CASCADE takes them along
-- params: oids bigint[]
-- columns: oid bigint; schema text; name text
-- privilege: none
-- source: PostgreSQL 17, pg_depend, pg_rewrite
WITH RECURSIVE reading (oid) AS (
    SELECT r.ev_class
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass
      AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.refobjid = ANY (:oids::bigint[]::oid[])
    UNION
    SELECT r.ev_class
    FROM reading
    JOIN pg_catalog.pg_depend AS d
        ON d.refobjid = reading.oid
       AND d.refclassid = 'pg_catalog.pg_class'::regclass
       AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name
FROM reading
JOIN pg_catalog.pg_class AS c ON c.oid = reading.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm')
ORDER BY n.nspname, c.relname;
