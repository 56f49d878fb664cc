-- purpose: tables that this transaction has written to so far, with the rows; those of a statement that was rolled back count, too
-- columns: oid bigint (of a partition, its topmost table); name text, with its schema; inserted bigint; updated bigint; deleted bigint;
--   is_counted bool, false where the server counts nothing
-- privilege: none
-- source: PostgreSQL 17, pg_stat_xact_user_tables; track_counts
SELECT coalesce(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid)::bigint AS oid,
       pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) AS inserted,
       pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) AS updated,
       pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS deleted,
       pg_catalog.current_setting('track_counts')::bool AS is_counted
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY name;
