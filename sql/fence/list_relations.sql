-- purpose: every relation of this database that holds rows of its own: tables, partitions, materialized views, catalogs.
--   Foreign tables are left out, since reading them reaches out; partitioned parents hold nothing themselves.
-- columns: oid bigint; schema text; name text; kind text; persistence text; populated bool; is_catalog bool; size_bytes bigint;
--   hashed text[], the columns of an ordinary table as expressions that can be hashed without loss; printed text[], its other
--   columns: their hash would take 1.0 for 1.00, so their text is hashed; generated text[], stored generated columns, which COPY leaves out. The size of a relation that somebody holds exclusively is
--   that of its statistics: asking for the real one would wait for the lock
-- privilege: none
-- source: PostgreSQL 17, pg_class
WITH held AS MATERIALIZED (
    SELECT l.relation
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
),
-- Read once for all relations: in a session without index scans a subquery for each relation would read the whole catalog each time.
columns AS MATERIALIZED (
    SELECT a.attrelid,
           pg_catalog.array_agg(pg_catalog.format('r.%I', a.attname)
                                || CASE WHEN a.atttypid IN ('text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype)
                                        THEN ' COLLATE "C"' ELSE '' END
                                ORDER BY a.attnum) FILTER (WHERE a.atttypid = ANY (e.hashable)) AS hashed,
           pg_catalog.array_agg(pg_catalog.format('r.%I', a.attname) ORDER BY a.attnum) FILTER (WHERE a.atttypid <> ALL (e.hashable)) AS printed,
           pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = 's') AS generated
    FROM pg_catalog.pg_attribute AS a
    CROSS JOIN (SELECT ARRAY['bool', 'int2', 'int4', 'int8', 'oid', 'date', 'time', 'timestamp', 'timestamptz', 'uuid',
                             'bytea', 'text', 'varchar']::pg_catalog.regtype[]::oid[] AS hashable) AS e
    WHERE a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
)
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       c.relpersistence::text AS persistence,
       c.relispopulated AS populated,
       (n.nspname IN ('pg_catalog', 'information_schema') AND c.relname <> 'pg_largeobject') AS is_catalog,
       CASE WHEN c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery() THEN 0
            WHEN c.oid IN (SELECT h.relation FROM held AS h)
            THEN GREATEST(c.relpages, 0)::bigint * pg_catalog.current_setting('block_size')::bigint
            ELSE pg_catalog.pg_relation_size(c.oid) END AS size_bytes,
       coalesce(k.hashed, '{}') AS hashed,
       coalesce(k.printed, '{}') AS printed,
       coalesce(k.generated, '{}') AS generated
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN columns AS k ON k.attrelid = c.oid
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
ORDER BY n.nspname, c.relname;
