-- purpose: every index is used
-- scope: database
-- unit: MiB
-- rank: 8
-- threshold: unused_index_least_mebibytes = 1 | judgement: a smaller one costs next to nothing
-- threshold: unused_index_window_days = 35 | judgement: jobs at a month's end have run once
-- any: warning
-- why: each write pays for it, and it takes memory from what is used
-- next: ask whose it is, look at every replica too (they count for themselves), then drop it
-- columns: object text; value float8, size, a partitioned index's with all that are attached to it; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, pg_stat_all_indexes.idx_scan and, since 16, last_idx_scan (taken from JSON: 15 has none); pg_stat_database.stats_reset; the paper's tablename and indexname never existed there. pg_xact_commit_timestamp tells when an index was made, where the server keeps it
WITH RECURSIVE observed AS (
  -- Since the counters began: their reset, else what is sure (a crash or a start may have lost them before).
  SELECT extract(epoch FROM now() - coalesce(d.stats_reset, greatest(pg_catalog.pg_postmaster_start_time(), b.stats_reset)))
           / 86400 AS days
  FROM pg_catalog.pg_stat_database AS d CROSS JOIN pg_catalog.pg_stat_bgwriter AS b
  WHERE d.datname = pg_catalog.current_database()
), tree AS (
  -- A partitioned index with all that are attached to it, any other alone: one that is attached cannot be dropped alone.
  SELECT i.oid AS root, i.oid, NULL::oid AS parent, 0 AS level
  FROM pg_catalog.pg_class AS i JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  WHERE i.relkind IN ('i', 'I') AND NOT i.relispartition AND i.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  UNION ALL
  SELECT tree.root, h.inhrelid, tree.oid, tree.level + 1
  FROM tree JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
), used AS (
  SELECT tree.root, sum(pg_catalog.pg_relation_size(tree.oid)) AS bytes, max(l.at) AS last_scan,
         bool_or(s.idx_scan > 0 AND coalesce(l.at, now()) >= now() - :unused_index_window_days::float8 * interval '1 day') AS is_used,
         bool_or(x.indisunique OR x.indisexclusion OR x.indisreplident OR x.indisclustered
                 OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid)) AS is_needed
  FROM tree JOIN pg_catalog.pg_index AS x ON x.indexrelid = tree.oid
  LEFT JOIN pg_catalog.pg_stat_all_indexes AS s ON s.indexrelid = tree.oid
  CROSS JOIN LATERAL (SELECT (to_jsonb(s) ->> 'last_idx_scan')::timestamptz AS at) AS l
  GROUP BY tree.root
), covering AS (
  -- Of the indexes behind a foreign key's columns one stays: deletes of the other table's rows use it, and may be rare.
  SELECT DISTINCT ON (f.oid) tree.root
  FROM pg_catalog.pg_constraint AS f
  JOIN pg_catalog.pg_index AS x ON x.indrelid = f.conrelid AND x.indisvalid AND x.indpred IS NULL
   AND x.indnkeyatts >= cardinality(f.conkey) AND (x.indkey::smallint[])[0 : cardinality(f.conkey) - 1] @> f.conkey
  JOIN tree ON tree.oid = x.indexrelid
  JOIN used ON used.root = tree.root
  WHERE f.contype = 'f'
  ORDER BY f.oid, used.is_needed DESC, used.is_used DESC NULLS LAST, tree.root
), found AS (
  SELECT x.indexrelid, i.relkind, i.relname, n.nspname, t.relname AS table_name, tn.nspname AS table_schema, u.bytes, u.last_scan, m.at AS made_at
  FROM used AS u
  JOIN pg_catalog.pg_index AS x ON x.indexrelid = u.root
  JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
  JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
  CROSS JOIN LATERAL (SELECT CASE WHEN pg_catalog.current_setting('track_commit_timestamp') = 'on'
                                  THEN pg_catalog.pg_xact_commit_timestamp(x.xmin) END AS at) AS m
  WHERE u.is_used IS NOT TRUE AND NOT u.is_needed AND x.indisvalid
    AND u.bytes >= :unused_index_least_mebibytes::float8 * 1048576
    AND x.indexrelid NOT IN (SELECT root FROM covering)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid IN (x.indexrelid, x.indrelid) AND e.deptype = 'e')
    -- Of two that are the same duplicate_indexes names one; the other is judged when that is gone.
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_index AS k JOIN pg_catalog.pg_class AS ki ON ki.oid = k.indexrelid
      WHERE k.indrelid = x.indrelid AND k.indexrelid <> x.indexrelid AND k.indisvalid AND ki.relam = i.relam
        AND k.indkey = x.indkey AND k.indnkeyatts = x.indnkeyatts AND k.indclass = x.indclass
        AND k.indcollation = x.indcollation AND k.indoption = x.indoption
        AND pg_catalog.pg_get_expr(k.indexprs, k.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indexprs, x.indrelid)
        AND pg_catalog.pg_get_expr(k.indpred, k.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indpred, x.indrelid))
), undone AS (
  SELECT tree.root,
         concat_ws(E'\n', string_agg(regexp_replace(pg_catalog.pg_get_indexdef(tree.oid), ' INDEX ',
                                                    CASE i.relkind WHEN 'i' THEN ' INDEX CONCURRENTLY ' ELSE ' INDEX ' END) || ';',
                                     E'\n' ORDER BY i.relkind, tree.level, tree.oid),
                   string_agg(format('ALTER INDEX %s ATTACH PARTITION %I.%I;', tree.parent::regclass, n.nspname, i.relname),
                              E'\n' ORDER BY tree.level DESC, tree.oid) FILTER (WHERE tree.level > 0)) AS statements
  FROM found JOIN tree ON tree.root = found.indexrelid
  JOIN pg_catalog.pg_class AS i ON i.oid = tree.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  GROUP BY tree.root
)
SELECT format('%I.%I', f.nspname, f.relname) AS object,
       round(f.bytes / 1048576.0, 1)::float8 AS value,
       format('on %I.%I%s; no scan in the %s days that are observed%s%s', f.table_schema, f.table_name,
              CASE f.relkind WHEN 'I' THEN ' and its partitions' ELSE '' END, round(o.days::numeric, 1),
              '; last scan: ' || to_char(f.last_scan, 'YYYY-MM-DD'),
              CASE WHEN f.made_at IS NULL THEN '; when it was made the server does not know' ELSE '' END) AS note,
       CASE f.relkind WHEN 'i' THEN format('DROP INDEX CONCURRENTLY %I.%I;', f.nspname, f.relname)
            ELSE format(E'-- Locks the table and its partitions for a moment: a partitioned index cannot be dropped concurrently.\nDROP INDEX %I.%I;',
                        f.nspname, f.relname) END AS change,
       undone.statements AS undo,
       CASE WHEN o.days < :unused_index_window_days::float8
            THEN format('the counters reach back %s of %s days', round(o.days::numeric, 1), :unused_index_window_days::float8)
            WHEN f.made_at > now() - :unused_index_window_days::float8 * interval '1 day'
            THEN format('made on %s: it has not been there for %s days', to_char(f.made_at, 'YYYY-MM-DD'), :unused_index_window_days::float8) END
         AS unmeasured
FROM found AS f CROSS JOIN observed AS o JOIN undone ON undone.root = f.indexrelid
ORDER BY 2 DESC, 1;
