-- purpose: every database by its number; those that accept no connection are named too
-- columns: oid bigint; name text; is_open bool
-- privilege: none
-- source: PostgreSQL 17, pg_database
SELECT d.oid::bigint AS oid, d.datname AS name, d.datallowconn AS is_open
FROM pg_catalog.pg_database AS d
ORDER BY d.datname;
