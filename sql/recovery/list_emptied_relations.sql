-- purpose: relations of this database that a recovery empties: unlogged tables, materialized views and sequences (their content is in no WAL)
-- columns: schema text; name text; kind text; estimated_rows float8 (null: never counted)
-- privilege: none
-- source: PostgreSQL 17, pg_class, "CREATE TABLE … UNLOGGED"
SELECT n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::float8 END AS estimated_rows
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'm', 'S')
ORDER BY 1, 2;
