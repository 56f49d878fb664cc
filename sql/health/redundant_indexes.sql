-- purpose: no index is the beginning of a longer one
-- scope: database
-- unit: MiB
-- rank: 8
-- threshold: redundant_index_least_mebibytes = 1 | judgement: a smaller one costs next to nothing
-- threshold: unused_index_window_days = 35 | judgement: jobs at a month's end have run once
-- any: warning
-- why: each write pays twice, and the longer one serves the same queries
-- next: compare the plans of its queries without it, on staging; then drop it
-- columns: object text; value float8, size; note text; change text; undo text
-- source: PostgreSQL 17, 11.3: a B-tree serves conditions on its leading columns; classes, collations, order, predicate are the same
SELECT DISTINCT ON (x.indexrelid) format('%I.%I', n.nspname, i.relname) AS object,
       round(pg_catalog.pg_relation_size(x.indexrelid) / 1048576.0, 1)::float8 AS value,
       format('on %I.%I; %I begins with the same columns', tn.nspname, t.relname, ki.relname) AS note,
       format('DROP INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname) AS change,
       regexp_replace(pg_catalog.pg_get_indexdef(x.indexrelid), ' INDEX ', ' INDEX CONCURRENTLY ') || ';' AS undo
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i' AND NOT i.relispartition
JOIN pg_catalog.pg_am AS m ON m.oid = i.relam AND m.amname = 'btree'
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_stat_all_indexes AS s ON s.indexrelid = x.indexrelid
  -- One that is not used is named by unused_indexes, once.
  AND s.idx_scan > 0
  AND coalesce((to_jsonb(s) ->> 'last_idx_scan')::timestamptz, now()) >= now() - make_interval(days => :unused_index_window_days::int)
JOIN pg_catalog.pg_index AS k ON k.indrelid = x.indrelid AND k.indexrelid <> x.indexrelid AND k.indisvalid
JOIN pg_catalog.pg_class AS ki ON ki.oid = k.indexrelid AND ki.relam = i.relam
WHERE x.indisvalid AND NOT x.indisunique AND NOT x.indisreplident AND NOT x.indisclustered
  AND x.indnatts = x.indnkeyatts AND k.indnkeyatts > x.indnkeyatts
  -- Expressions are compared by no column number: left out.
  AND x.indexprs IS NULL AND NOT 0 = ANY ((k.indkey::smallint[])[0 : x.indnkeyatts - 1])
  AND (k.indkey::smallint[])[0 : x.indnkeyatts - 1] = (x.indkey::smallint[])[0 : x.indnkeyatts - 1]
  AND (k.indclass::oid[])[0 : x.indnkeyatts - 1] = (x.indclass::oid[])[0 : x.indnkeyatts - 1]
  AND (k.indcollation::oid[])[0 : x.indnkeyatts - 1] = (x.indcollation::oid[])[0 : x.indnkeyatts - 1]
  AND (k.indoption::smallint[])[0 : x.indnkeyatts - 1] = (x.indoption::smallint[])[0 : x.indnkeyatts - 1]
  AND pg_catalog.pg_get_expr(k.indpred, k.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indpred, x.indrelid)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND pg_catalog.pg_relation_size(x.indexrelid) >= :redundant_index_least_mebibytes::float8 * 1048576
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = x.indexrelid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = x.indexrelid AND e.deptype = 'e')
ORDER BY x.indexrelid, k.indexrelid;
