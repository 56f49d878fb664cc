-- purpose: relations that pg_amcheck may name: tables with what belongs to them, and indexes
-- columns: oid bigint; schema text; name text; is_index bool
-- privilege: none
-- source: PostgreSQL 17, pg_class
SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'i' AS is_index
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 't', 'i', 'S');
