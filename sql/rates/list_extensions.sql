-- purpose: the extensions of this database, with their schemas
-- columns: name text; schema text
-- source: PostgreSQL 17, pg_extension
SELECT e.extname AS name, n.nspname AS schema
FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace;
