-- purpose: relations with rows, or sequences, that a role owns in this database
-- params: role text
-- columns: name text
-- privilege: none
-- source: PostgreSQL 17, pg_class
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
WHERE r.rolname = :'role' AND c.relkind IN ('r', 'p', 'm', 'S') AND c.relpersistence <> 't'
ORDER BY 1;
