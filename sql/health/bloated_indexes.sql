-- purpose: indexes are dense
-- scope: database
-- unit: %
-- rank: 7
-- needs: extension:pgstattuple, pg_stat_scan_tables
-- threshold: bloat_least_mebibytes = 64 | judgement: a smaller table or index is not worth rewriting
-- threshold: bloat_most_relations = 50 | judgement: what a daily look may read
-- threshold: index_bloat_warning_percent = 50 | judgement: keys that arrive in random order leave 25 to 33 % free in a healthy B-tree
-- warning: index_bloat_warning_percent
-- why: every scan reads and keeps more pages than the keys need
-- next: REINDEX INDEX CONCURRENTLY; needs room for a second copy
-- columns: object text; value float8, share of the leaf pages that is empty beyond the fillfactor's reserve; note text; change text; undo text; unmeasured text
-- source: PostgreSQL 17, F.33 pgstatindex.avg_leaf_density: measured; B-tree alone
WITH large AS (
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS object, pg_catalog.pg_relation_size(c.oid) AS bytes,
         coalesce(substring(array_to_string(c.reloptions, ',') FROM 'fillfactor=(\d+)')::int, 90) AS fill,
         row_number() OVER (ORDER BY pg_catalog.pg_relation_size(c.oid) DESC, c.oid) AS place
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_am AS m ON m.oid = c.relam AND m.amname = 'btree'
  JOIN pg_catalog.pg_index AS x ON x.indexrelid = c.oid AND x.indisvalid
  WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND NOT (pg_catalog.pg_is_in_recovery() AND c.relpersistence = 'u')
    AND pg_catalog.pg_relation_size(c.oid) >= :bloat_least_mebibytes::float8 * 1048576
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid IN (c.oid, x.indrelid) AND e.deptype = 'e')
)
SELECT l.object,
       -- A leaf that is emptied whole is counted neither in the density nor as a leaf, but still lies in the file.
       round((100 * (1 - least(1, coalesce(nullif(p.avg_leaf_density, 'NaN'), 0) / l.fill)
                         * p.leaf_pages / greatest(1, p.leaf_pages + p.empty_pages + p.deleted_pages)))::numeric, 1)::float8 AS value,
       format('%s MiB; leaf pages %s %% full (fillfactor %s), %s of %s pages empty', round(l.bytes / 1048576.0, 1),
              p.avg_leaf_density, l.fill, p.empty_pages + p.deleted_pages,
              p.leaf_pages + p.internal_pages + p.empty_pages + p.deleted_pages) AS note,
       format('REINDEX INDEX CONCURRENTLY %s;', l.object) AS change,
       NULL::text AS undo, NULL::text AS unmeasured
FROM large AS l CROSS JOIN LATERAL :pgstattuple.pgstatindex(l.oid::regclass) AS p
WHERE l.place <= :bloat_most_relations::float8
UNION ALL
SELECT format('%s further indexes', count(*)), NULL, NULL, NULL, NULL,
       format('only the %s largest are read; raise bloat_most_relations', :bloat_most_relations::float8)
FROM large WHERE place > :bloat_most_relations::float8 HAVING count(*) > 0
ORDER BY 2 DESC NULLS LAST, 1;
