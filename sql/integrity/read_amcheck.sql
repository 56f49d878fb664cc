-- purpose: the extension amcheck of this database, and functions of its names in its schema that are not its own: pg_amcheck calls by name, and one
--   that takes an oid would be chosen before the extension's, which takes a regclass
-- columns: schema text; shadows text[]
-- privilege: none
-- source: PostgreSQL 17, pg_extension, pg_depend; pg_amcheck passes oid values by argument name
SELECT n.nspname::text AS schema,
       ARRAY(SELECT p.oid::pg_catalog.regprocedure::text
             FROM pg_catalog.pg_proc AS p
             WHERE p.pronamespace = e.extnamespace AND p.proname IN ('verify_heapam', 'bt_index_check', 'bt_index_parent_check', 'gin_index_check')
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                               WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
                                 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid)
             ORDER BY 1) AS shadows
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'amcheck';
