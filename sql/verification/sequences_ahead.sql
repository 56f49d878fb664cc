-- purpose: every sequence is ahead of the column that it feeds
-- expect: rows = 0
-- unit: sequences
-- about: rows
-- severity: error
-- why: a sequence behind its column hands out keys that exist; the next INSERT fails
-- next: SELECT setval(…) to the column's maximum before writes are allowed
-- maximum: column_maximum
-- columns: sequence_name text; column_name text; last_value bigint; schema_name, table_name, attribute_name name; is_only boolean: the column
--   whose maximum is read by a statement of its own; a partitioned table holds nothing itself, any other one is read without what inherits from it
-- source: PostgreSQL 17, pg_sequence, pg_depend
SELECT format('%I.%I', sn.nspname, sc.relname) AS sequence_name,
       format('%I.%I.%I', tn.nspname, t.relname, a.attname) AS column_name,
       coalesce(pg_catalog.pg_sequence_last_value(sc.oid), q.seqstart - q.seqincrement) AS last_value,
       tn.nspname AS schema_name, t.relname AS table_name, a.attname AS attribute_name, t.relkind <> 'p' AS is_only
FROM pg_catalog.pg_sequence AS q
JOIN pg_catalog.pg_class AS sc ON sc.oid = q.seqrelid
JOIN pg_catalog.pg_namespace AS sn ON sn.oid = sc.relnamespace
JOIN pg_catalog.pg_depend AS d
  ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = sc.oid
 AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
JOIN pg_catalog.pg_class AS t ON t.oid = d.refobjid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE q.seqincrement > 0 AND NOT q.seqcycle AND sc.relpersistence <> 't'
  -- A foreign table or partition would be read from where it is; an unlogged one cannot be read in recovery.
  AND t.relkind <> 'f' AND NOT (t.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
  AND t.oid NOT IN (SELECT h.relid
                    FROM pg_catalog.pg_class AS p
                    CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(p.oid) AS h (relid)
                    WHERE p.relispartition AND (p.relkind = 'f' OR p.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()))
ORDER BY 1, 2;
