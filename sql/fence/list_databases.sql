-- purpose: every database whose data a restore must prove: those that accept connections and are not half dropped. Of templates only those of
--   initdb are left out: an owner with CREATEDB makes a template of any database, whose data would then be proven by nobody
-- columns: name text; oid bigint; size_bytes bigint
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_database
SELECT d.datname AS name, d.oid::bigint AS oid, pg_catalog.pg_database_size(d.oid) AS size_bytes
FROM pg_catalog.pg_database AS d
WHERE d.datallowconn AND NOT (d.datistemplate AND d.oid < 16384) AND d.datconnlimit <> -2
ORDER BY d.datname;
