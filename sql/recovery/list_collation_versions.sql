-- purpose: collations of this database whose version on this machine is another one than when their indexes were made
-- columns: name text; made_with text; here text
-- privilege: none
-- source: PostgreSQL 17, pg_collation_actual_version, pg_database_collation_actual_version
SELECT 'the default of database ' || d.datname AS name,
       d.datcollversion AS made_with,
       pg_catalog.pg_database_collation_actual_version(d.oid) AS here
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
  AND d.datcollversion <> pg_catalog.pg_database_collation_actual_version(d.oid)
UNION ALL
SELECT pg_catalog.format('%I.%I', n.nspname, c.collname), c.collversion, pg_catalog.pg_collation_actual_version(c.oid)
FROM pg_catalog.pg_collation AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
WHERE c.collversion <> pg_catalog.pg_collation_actual_version(c.oid)
ORDER BY 1;
