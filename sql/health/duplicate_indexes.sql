-- purpose: no index says what another one says
-- scope: database
-- unit: MiB
-- rank: 8
-- any: warning
-- why: each write pays twice
-- next: drop the one named; the other serves the same queries
-- columns: object text; value float8, size, a partitioned index's with all that are attached to it; note text; change text; undo text
-- source: PostgreSQL 17, pg_index: same table, method, columns, classes and their options, collations, options, expressions and predicate
WITH RECURSIVE tree AS (
  -- A partitioned index with all that are attached to it, any other alone: one that is attached cannot be dropped alone.
  SELECT i.oid AS root, i.oid, NULL::oid AS parent, 0 AS level
  FROM pg_catalog.pg_class AS i JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  WHERE i.relkind IN ('i', 'I') AND NOT i.relispartition AND i.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  UNION ALL
  SELECT tree.root, h.inhrelid, tree.oid, tree.level + 1
  FROM tree JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
), whole AS (
  SELECT tree.root, sum(pg_catalog.pg_relation_size(tree.oid)) AS bytes, coalesce(sum(s.idx_scan), 0) AS scans,
         bool_or(x.indisreplident OR x.indisclustered
                 OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid)) AS is_needed
  FROM tree JOIN pg_catalog.pg_index AS x ON x.indexrelid = tree.oid
  LEFT JOIN pg_catalog.pg_stat_all_indexes AS s ON s.indexrelid = tree.oid
  GROUP BY tree.root
), described AS (
  SELECT x.*, i.relname, i.relkind, i.relam, n.nspname, whole.root, whole.bytes, whole.scans,
         coalesce(whole.is_needed, true) AS is_needed,  -- attached to another
         -- What these methods are told changes how they are stored, not what they answer.
         CASE WHEN m.amname NOT IN ('btree', 'hash', 'gist', 'gin', 'spgist') THEN i.reloptions END AS options,
         pg_catalog.pg_get_expr(x.indexprs, x.indrelid) AS expressions,
         pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate
  FROM pg_catalog.pg_index AS x
  JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relpersistence <> 't'
  JOIN pg_catalog.pg_am AS m ON m.oid = i.relam
  JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
  LEFT JOIN whole ON whole.root = x.indexrelid
  WHERE x.indisvalid AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), found AS (
  SELECT DISTINCT ON (d.indexrelid) d.indexrelid, d.indrelid, d.nspname, d.relname, d.relkind, d.bytes, k.relname AS kept,
         k.indisunique AND NOT d.indisunique AS is_unique
  FROM described AS d
  JOIN described AS k
    ON k.indrelid = d.indrelid AND k.indexrelid <> d.indexrelid AND k.relam = d.relam
   AND k.indkey = d.indkey AND k.indnkeyatts = d.indnkeyatts AND k.indclass = d.indclass
   AND k.indcollation = d.indcollation AND k.indoption = d.indoption AND k.options IS NOT DISTINCT FROM d.options
   AND k.expressions IS NOT DISTINCT FROM d.expressions AND k.predicate IS NOT DISTINCT FROM d.predicate
  -- Of two the one is named that promises less; of equals the one that is read less, or else the newer one.
  WHERE d.root IS NOT NULL AND NOT d.is_needed
    AND (NOT d.indisunique OR k.indisunique AND k.indimmediate AND k.indnullsnotdistinct = d.indnullsnotdistinct)
    AND (k.is_needed OR k.indisunique AND NOT d.indisunique
         OR k.indisunique = d.indisunique AND (k.scans > d.scans OR k.scans = d.scans AND k.indexrelid < d.indexrelid))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS da JOIN pg_catalog.pg_attribute AS ka
                      ON ka.attrelid = k.indexrelid AND ka.attnum = da.attnum
                    WHERE da.attrelid = d.indexrelid AND ka.attoptions IS DISTINCT FROM da.attoptions)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid IN (d.indexrelid, d.indrelid) AND e.deptype = 'e')
  ORDER BY d.indexrelid, k.is_needed DESC, k.indexrelid
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
       format('on %s; %I is the same%s', f.indrelid::regclass, f.kept, CASE WHEN f.is_unique THEN ', and unique' ELSE '' END) AS note,
       CASE f.relkind WHEN 'i' THEN format('DROP INDEX CONCURRENTLY %I.%I;', f.nspname, f.relname)
            ELSE format(E'-- Locks the table and its partitions for a moment: a partitioned index cannot be dropped concurrently.\nDROP INDEX %I.%I;',
                        f.nspname, f.relname) END AS change,
       undone.statements AS undo
FROM found AS f JOIN undone ON undone.root = f.indexrelid
ORDER BY 2 DESC, 1;
