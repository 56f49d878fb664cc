-- purpose: the databases that may hold something, whether this role may enter them, and with which extensions' help
-- columns: name text; may boolean
-- source: PostgreSQL 17, pg_database; datconnlimit is -2 where a DROP DATABASE was cut short, and nobody can enter
SELECT datname AS name, pg_catalog.has_database_privilege(oid, 'CONNECT') AS may
FROM pg_catalog.pg_database
WHERE datallowconn AND NOT (datistemplate AND oid < 16384) AND datconnlimit <> -2
ORDER BY datname = pg_catalog.current_database() DESC, datname;
