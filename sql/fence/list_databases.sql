-- purpose: every database whose data a restore must prove: those that accept connections and are no templates
-- columns: name text; oid bigint; size_bytes bigint
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_database
SELECT d.datname AS name, d.oid::bigint AS oid, pg_catalog.pg_database_size(d.oid) AS size_bytes
FROM pg_catalog.pg_database AS d
WHERE d.datallowconn AND NOT d.datistemplate
ORDER BY d.datname;
