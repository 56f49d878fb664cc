-- purpose: collations that columns name sort as they did when indexes were built
-- scope: database
-- unit: indexes
-- rank: 2
-- any: critical
-- why: an index on text that was built under another order misses rows and lets duplicates in
-- next: build the indexes anew, then refresh the version; rows of a table that is partitioned by it may lie in the wrong partition
-- columns: object text; value float8, indexes that sort by it; note text; change text; undo text, none
-- source: PostgreSQL 17, pg_collation.collversion, pg_collation_actual_version; the database's own collation: collation_mismatch
SELECT format('collation %I.%I', n.nspname, c.collname) AS object, u.indexes::float8 AS value,
       format('built under version %s, now %s%s', c.collversion, pg_catalog.pg_collation_actual_version(c.oid),
              '; partitioned by it: ' || p.tables) AS note,
       concat_ws(E'\n', u.rebuilt, format('ALTER COLLATION %I.%I REFRESH VERSION;', n.nspname, c.collname)) AS change,
       NULL::text AS undo
FROM pg_catalog.pg_collation AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
CROSS JOIN LATERAL (
  SELECT count(*) AS indexes,
         string_agg(format('REINDEX INDEX CONCURRENTLY %s;', x.indexrelid::regclass), E'\n' ORDER BY x.indexrelid) AS rebuilt
  FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i' AND i.relpersistence <> 't'
  WHERE c.oid = ANY (x.indcollation::oid[])
) AS u
CROSS JOIN LATERAL (
  SELECT string_agg(t.partrelid::regclass::text, ', ' ORDER BY t.partrelid) AS tables
  FROM pg_catalog.pg_partitioned_table AS t WHERE c.oid = ANY (t.partcollation::oid[])
) AS p
WHERE c.collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(c.oid) AND c.collversion IS NOT NULL
  AND (u.indexes > 0 OR p.tables IS NOT NULL)
ORDER BY 1;
