-- purpose: every sequence of this database
-- columns: oid bigint; schema text; name text; persistence text
-- privilege: none
-- source: PostgreSQL 17, pg_class
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relpersistence::text AS persistence
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
ORDER BY n.nspname, c.relname;
