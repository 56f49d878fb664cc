-- purpose: the databases that may hold something, whether this role may enter them, and with which extensions' help
-- columns: name text; may boolean
-- source: PostgreSQL 17, pg_database
SELECT datname AS name, pg_catalog.has_database_privilege(oid, 'CONNECT') AS may
FROM pg_catalog.pg_database
WHERE datallowconn AND NOT datistemplate
ORDER BY datname = pg_catalog.current_database() DESC, datname;
