-- purpose: no index is invalid
-- scope: database
-- unit: MiB
-- rank: 5
-- any: warning
-- why: it is written at each change and never read, and a unique one does not hold what it promises
-- next: build it again, or drop it when its build had failed (_ccnew, _ccold)
-- columns: object text; value float8, size; note text; change text; undo text
-- source: PostgreSQL 17, pg_index.indisvalid; a build that is still running and the parents of partitioned indexes are left out
SELECT format('%I.%I', n.nspname, i.relname) AS object,
       round(pg_catalog.pg_relation_size(i.oid) / 1048576.0, 1)::float8 AS value,
       format('on %I.%I%s', tn.nspname, t.relname, CASE WHEN x.indisunique THEN ', unique' ELSE '' END) AS note,
       CASE WHEN i.relname ~ '_cc(new|old)\d*$' OR x.indisunique THEN format('DROP INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname)
            ELSE format('REINDEX INDEX CONCURRENTLY %I.%I;', n.nspname, i.relname) END AS change,
       CASE WHEN x.indisunique AND i.relname !~ '_cc(new|old)\d*$'
            THEN regexp_replace(pg_catalog.pg_get_indexdef(i.oid), ' INDEX ', ' INDEX CONCURRENTLY ') || ';' END AS undo
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i'
JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
WHERE NOT x.indisvalid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS k
                  WHERE k.relation = x.indrelid AND k.mode = 'ShareUpdateExclusiveLock' AND k.granted
                    AND k.pid IN (SELECT pid FROM pg_catalog.pg_stat_progress_create_index))
ORDER BY 1;
