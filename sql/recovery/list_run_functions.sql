-- purpose: functions, not PostgreSQL's own, that run when these relations are made and filled: of generated columns, and in a materialized view
-- params: oids bigint[]
-- columns: oid bigint (the relation); name text
-- privilege: none
-- source: PostgreSQL 17, pg_depend, pg_attrdef, pg_rewrite
SELECT DISTINCT o.oid::bigint AS oid, pg_catalog.format('%I.%I', n.nspname, p.proname) AS name
FROM (
    SELECT a.adrelid AS oid, d.refobjid
    FROM pg_catalog.pg_attrdef AS a
    JOIN pg_catalog.pg_attribute AS c ON c.attrelid = a.adrelid AND c.attnum = a.adnum AND c.attgenerated <> ''
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = a.oid
    WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
    UNION ALL
    SELECT r.ev_class, d.refobjid
    FROM pg_catalog.pg_rewrite AS r
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
) AS o
JOIN pg_catalog.pg_proc AS p ON p.oid = o.refobjid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE o.oid = ANY (:oids::bigint[]::oid[]) AND p.oid >= 16384
ORDER BY 1, 2;
