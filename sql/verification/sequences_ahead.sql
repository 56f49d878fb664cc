-- purpose: every sequence is ahead of the column that it feeds
-- expect: rows = 0
-- unit: sequences
-- severity: error
-- why: a sequence behind its column hands out keys that exist; the next INSERT fails
-- next: SELECT setval(…) to the column's maximum before writes are allowed
-- columns: sequence_name text; column_name text; last_value bigint; column_maximum numeric
-- source: PostgreSQL 17, pg_sequence, pg_depend
SELECT s.sequence_name, s.column_name, s.last_value, m.column_maximum
FROM (
  SELECT format('%I.%I', sn.nspname, sc.relname) AS sequence_name,
         format('%I.%I.%I', tn.nspname, t.relname, a.attname) AS column_name,
         coalesce(pg_catalog.pg_sequence_last_value(sc.oid), q.seqstart - q.seqincrement) AS last_value,
         -- A partitioned table holds nothing itself; any other one is asked without what inherits from it.
         format('SELECT pg_catalog.array_to_tsvector(pg_catalog.array_remove(ARRAY[nullif(left(max(%I)::text, 40), '''')], NULL)) '
                'FROM %s %I.%I', a.attname, CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY' END, tn.nspname, t.relname) AS query,
         -- A foreign partition would be read from where it is; an unlogged one cannot be read in recovery.
         EXISTS (SELECT FROM pg_catalog.pg_class AS p
                 WHERE (p.oid = t.oid OR p.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(t.oid)))
                   AND (p.relkind = 'f' OR p.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())) AS is_closed
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
) AS s
CROSS JOIN LATERAL (
  -- Of what runs a query by its text, query_to_xml wants a server that was built with libxml; this one does not. A text that a
  -- sequence is a part of is no number.
  SELECT CASE WHEN s.is_closed THEN NULL
              ELSE (SELECT substring(word FROM '^-?[0-9]+$')::numeric FROM pg_catalog.ts_stat(s.query)) END AS column_maximum
) AS m
WHERE m.column_maximum > s.last_value
ORDER BY 1;
