-- purpose: a table by its oid, or by its name where the oid is gone (dropped and made again)
-- params: oid bigint; schema text; name text
-- columns: oid bigint; schema text; name text; kind text
-- privilege: none
-- source: PostgreSQL 17, pg_class
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND c.relpersistence = 'p'
  AND (c.oid = :oid::oid OR (n.nspname = :'schema' AND c.relname = :'name'))
ORDER BY c.oid = :oid::oid DESC
LIMIT 1;
