-- purpose: every relation of this database that holds rows of its own: tables, partitions, materialized views, catalogs.
--   Foreign tables are left out, since reading them reaches out; partitioned parents hold nothing themselves.
-- columns: oid bigint; schema text; name text; kind text; persistence text; populated bool; is_catalog bool; size_bytes bigint;
--   hashed text[], the columns of an ordinary table as expressions that can be hashed without loss; printed text[], its other
--   columns: their hash would take 1.0 for 1.00, so their text is hashed
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
            ELSE pg_catalog.pg_relation_size(c.oid) END AS size_bytes,
       ARRAY(SELECT pg_catalog.format('r.%I', a.attname)
                 || CASE WHEN a.atttypid IN ('text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype)
                         THEN ' COLLATE pg_catalog."C"' ELSE '' END
             FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND e.hashable @> ARRAY[a.atttypid]
             ORDER BY a.attnum) AS hashed,
       ARRAY(SELECT pg_catalog.format('r.%I', a.attname)
             FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT e.hashable @> ARRAY[a.atttypid]
             ORDER BY a.attnum) AS printed
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN (SELECT ARRAY['bool', 'int2', 'int4', 'int8', 'oid', 'date', 'time', 'timestamp', 'timestamptz', 'uuid',
                         'bytea', 'text', 'varchar']::pg_catalog.regtype[]::oid[] AS hashable) AS e
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
ORDER BY n.nspname, c.relname;
