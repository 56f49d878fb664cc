-- purpose: foreign keys of other tables that point to a table: a DROP of it takes them along
-- params: oid bigint
-- columns: name text; oid bigint; schema text; table_name text; definition text
-- privilege: none
-- source: PostgreSQL 17, pg_constraint, pg_get_constraintdef
SELECT c.conname AS name, t.oid::bigint AS oid, n.nspname AS schema, t.relname AS table_name,
       pg_catalog.pg_get_constraintdef(c.oid) AS definition
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
WHERE c.confrelid = :oid::oid AND c.contype = 'f' AND c.conparentid = 0 AND c.conrelid <> c.confrelid
ORDER BY n.nspname, t.relname, c.conname;
