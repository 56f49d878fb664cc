-- purpose: no index is the beginning of a longer one
-- scope: database
-- unit: MiB
-- rank: 8
-- threshold: redundant_index_least_mebibytes = 1 | judgement: a smaller one costs next to nothing
-- threshold: unused_index_window_days = 35 | judgement: jobs at a month's end have run once
-- any: warning
-- why: each write pays twice, and the longer one serves the same queries
-- next: compare the plans of its queries without it, on staging; then drop it
-- columns: object text; value float8, size, a partitioned index's with all that are attached to it; note text; change text; undo text
-- source: PostgreSQL 17, 11.3: a B-tree serves conditions on its leading columns; classes, collations, order, predicate are the same
WITH RECURSIVE tree AS (
  -- A partitioned index with all that are attached to it, any other alone: one that is attached cannot be dropped alone.
  SELECT i.oid AS root, i.oid, NULL::oid AS parent, 0 AS level
  FROM pg_catalog.pg_class AS i JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  JOIN pg_catalog.pg_am AS m ON m.oid = i.relam AND m.amname = 'btree'
  WHERE i.relkind IN ('i', 'I') AND NOT i.relispartition AND i.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  UNION ALL
  SELECT tree.root, h.inhrelid, tree.oid, tree.level + 1
  FROM tree JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
), whole AS (
  SELECT tree.root, sum(pg_catalog.pg_relation_size(tree.oid)) AS bytes,
         -- One that is not used is named by unused_indexes, once.
         bool_or(s.idx_scan > 0 AND coalesce((to_jsonb(s) ->> 'last_idx_scan')::timestamptz, now())
                                    >= now() - :unused_index_window_days::float8 * interval '1 day') AS is_used,
         bool_or(x.indisunique OR x.indisreplident OR x.indisclustered
                 OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid)) AS is_needed
  FROM tree JOIN pg_catalog.pg_index AS x ON x.indexrelid = tree.oid
  LEFT JOIN pg_catalog.pg_stat_all_indexes AS s ON s.indexrelid = tree.oid
  GROUP BY tree.root
), found AS (
  SELECT DISTINCT ON (x.indexrelid) x.indexrelid, x.indrelid, n.nspname, i.relname, i.relkind, w.bytes, ki.relname AS longer
  FROM whole AS w
  JOIN pg_catalog.pg_index AS x ON x.indexrelid = w.root
  JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  JOIN pg_catalog.pg_index AS k ON k.indrelid = x.indrelid AND k.indexrelid <> x.indexrelid AND k.indisvalid
  JOIN pg_catalog.pg_class AS ki ON ki.oid = k.indexrelid AND ki.relam = i.relam
  LEFT JOIN whole AS kw ON kw.root = k.indexrelid
  WHERE w.is_used AND NOT w.is_needed AND x.indisvalid
    -- The longer one stays: it is attached to another, needed, or used. One that nothing reads is the one to drop.
    AND (kw.root IS NULL OR kw.is_needed OR kw.is_used)
    AND x.indnatts = x.indnkeyatts AND k.indnkeyatts > x.indnkeyatts
    -- Expressions are compared by no column number: left out.
    AND x.indexprs IS NULL AND NOT 0 = ANY ((k.indkey::smallint[])[0 : x.indnkeyatts - 1])
    AND (k.indkey::smallint[])[0 : x.indnkeyatts - 1] = (x.indkey::smallint[])[0 : x.indnkeyatts - 1]
    AND (k.indclass::oid[])[0 : x.indnkeyatts - 1] = (x.indclass::oid[])[0 : x.indnkeyatts - 1]
    AND (k.indcollation::oid[])[0 : x.indnkeyatts - 1] = (x.indcollation::oid[])[0 : x.indnkeyatts - 1]
    AND (k.indoption::smallint[])[0 : x.indnkeyatts - 1] = (x.indoption::smallint[])[0 : x.indnkeyatts - 1]
    AND pg_catalog.pg_get_expr(k.indpred, k.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indpred, x.indrelid)
    AND w.bytes >= :redundant_index_least_mebibytes::float8 * 1048576
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid IN (x.indexrelid, x.indrelid) AND e.deptype = 'e')
    -- Of two that are the same duplicate_indexes names one; the other is judged when that is gone.
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_index AS d JOIN pg_catalog.pg_class AS di ON di.oid = d.indexrelid
      WHERE d.indrelid = x.indrelid AND d.indexrelid <> x.indexrelid AND d.indisvalid AND di.relam = i.relam
        AND d.indkey = x.indkey AND d.indnkeyatts = x.indnkeyatts AND d.indclass = x.indclass
        AND d.indcollation = x.indcollation AND d.indoption = x.indoption
        AND pg_catalog.pg_get_expr(d.indpred, d.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indpred, x.indrelid))
  ORDER BY x.indexrelid, k.indexrelid
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
       format('on %s; %I begins with the same columns', f.indrelid::regclass, f.longer) AS note,
       CASE f.relkind WHEN 'i' THEN format('DROP INDEX CONCURRENTLY %I.%I;', f.nspname, f.relname)
            ELSE format(E'-- Locks the table and its partitions for a moment: a partitioned index cannot be dropped concurrently.\nDROP INDEX %I.%I;',
                        f.nspname, f.relname) END AS change,
       undone.statements AS undo
FROM found AS f JOIN undone ON undone.root = f.indexrelid
ORDER BY 2 DESC, 1;
