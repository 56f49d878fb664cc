-- purpose: every relation of this database that holds rows of its own: tables, partitions, materialized views, catalogs.
--   Foreign tables are left out, since reading them reaches out; partitioned parents hold nothing themselves.
-- columns: oid bigint; schema text; name text; kind text; persistence text; populated bool; is_catalog bool; size_bytes bigint
-- privilege: none
-- source: PostgreSQL 17, pg_class
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       c.relpersistence::text AS persistence,
       c.relispopulated AS populated,
       (n.nspname IN ('pg_catalog', 'information_schema') AND c.relname <> 'pg_largeobject') AS is_catalog,
       CASE WHEN c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery() THEN 0
            ELSE pg_catalog.pg_relation_size(c.oid) END AS size_bytes
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
ORDER BY n.nspname, c.relname;
