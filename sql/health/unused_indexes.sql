-- purpose: every index is used
-- scope: database
-- unit: MiB
-- rank: 8
-- threshold: unused_index_least_mebibytes = 1 | judgement: a smaller one costs next to nothing
-- threshold: unused_index_window_days = 35 | judgement: jobs at a month's end have run once
-- any: warning
-- why: each write pays for it, and it takes memory from what is used
-- next: ask whose it is, look at every replica too (they count for themselves), then drop it
-- columns: object text; value float8, size; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, pg_stat_user_indexes.idx_scan and, since 16, last_idx_scan (taken from JSON: 15 has none); pg_stat_database.stats_reset; the paper's tablename and indexname never existed there
WITH observed AS (
  -- Since the counters began: their reset, else what is sure (a crash or a start may have lost them before).
  SELECT extract(epoch FROM now() - coalesce(d.stats_reset, greatest(pg_catalog.pg_postmaster_start_time(), b.stats_reset)))
           / 86400 AS days
  FROM pg_catalog.pg_stat_database AS d CROSS JOIN pg_catalog.pg_stat_bgwriter AS b
  WHERE d.datname = pg_catalog.current_database()
)
SELECT format('%I.%I', n.nspname, i.relname) AS object,
       round(pg_catalog.pg_relation_size(i.oid) / 1048576.0, 1)::float8 AS value,
       format('on %I.%I; no scan in the %s days that are observed%s', tn.nspname, t.relname, round(o.days::numeric, 1),
              '; last scan: ' || to_char(l.at, 'YYYY-MM-DD')) AS note,
       format('DROP INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname) AS change,
       regexp_replace(pg_catalog.pg_get_indexdef(i.oid), ' INDEX ', ' INDEX CONCURRENTLY ') || ';' AS undo,
       CASE WHEN o.days < :unused_index_window_days::float8
            THEN format('the counters reach back %s of %s days', round(o.days::numeric, 1), :unused_index_window_days::float8) END
         AS unmeasured
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i'
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_stat_user_indexes AS s ON s.indexrelid = x.indexrelid
CROSS JOIN observed AS o
CROSS JOIN LATERAL (SELECT (to_jsonb(s) ->> 'last_idx_scan')::timestamptz AS at) AS l
WHERE (s.idx_scan = 0 OR l.at < now() - make_interval(days => :unused_index_window_days::int))
  AND x.indisvalid AND NOT x.indisunique AND NOT x.indisprimary AND NOT x.indisexclusion AND NOT x.indisreplident
  AND NOT x.indisclustered AND NOT i.relispartition
  AND pg_catalog.pg_relation_size(i.oid) >= :unused_index_least_mebibytes::float8 * 1048576
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = i.oid AND e.deptype = 'e')
  -- The only index behind a foreign key's columns is used by deletes of the other table's rows, which may be rare.
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint AS f
    WHERE f.contype = 'f' AND f.conrelid = x.indrelid
      AND (x.indkey::smallint[])[0 : cardinality(f.conkey) - 1] @> f.conkey
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS y
                      WHERE y.indrelid = x.indrelid AND y.indexrelid <> x.indexrelid AND y.indisvalid AND y.indpred IS NULL
                        AND (y.indkey::smallint[])[0 : cardinality(f.conkey) - 1] @> f.conkey))
  -- What repeats another index is named by duplicate_indexes, once.
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS k JOIN pg_catalog.pg_class AS ki ON ki.oid = k.indexrelid
    WHERE k.indrelid = x.indrelid AND k.indexrelid <> x.indexrelid AND k.indisvalid AND ki.relam = i.relam
      AND k.indkey = x.indkey AND k.indnkeyatts = x.indnkeyatts AND k.indclass = x.indclass
      AND k.indcollation = x.indcollation AND k.indoption = x.indoption
      AND k.indnullsnotdistinct = x.indnullsnotdistinct
      AND pg_catalog.pg_get_expr(k.indexprs, k.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indexprs, x.indrelid)
      AND pg_catalog.pg_get_expr(k.indpred, k.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indpred, x.indrelid)
      AND (k.indisunique OR k.indisreplident OR k.indisclustered OR k.indexrelid < x.indexrelid))
ORDER BY 2 DESC, 1;
