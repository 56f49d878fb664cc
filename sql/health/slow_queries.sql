-- purpose: no statement is slow as a habit
-- scope: cluster
-- unit: ms
-- rank: 6
-- needs: extension:pg_stat_statements, pg_read_all_stats
-- threshold: slow_query_milliseconds = 1000 | source runbook, section 5: queries slower than 1 second
-- threshold: slow_query_least_calls = 5 | judgement: a statement that ran less often is a one-off, such as maintenance
-- threshold: slow_query_most = 10 | source runbook, section 5: LIMIT 10
-- warning: slow_query_milliseconds
-- why: its users wait, and it takes what others need
-- next: EXPLAIN (ANALYZE, BUFFERS) it with real values on staging
-- columns: object text; value float8, mean execution time; note text
-- source: PostgreSQL 17, F.30; total_exec_time and mean_exec_time since 13. Utility text that names a password is withheld
SELECT format('query %s of %s in %s%s', s.queryid, coalesce(r.rolname, s.userid::text), coalesce(d.datname, s.dbid::text),
              CASE WHEN s.toplevel THEN '' ELSE ', nested' END) AS object,
       round(s.mean_exec_time::numeric, 1)::float8 AS value,
       format('%s calls, %s s in all, %s rows, since %s%s: %s', s.calls, round((s.total_exec_time / 1000)::numeric, 1), s.rows,
              to_char(i.stats_reset, 'YYYY-MM-DD HH24:MI'),
              CASE WHEN i.dealloc > 0 THEN format(' (%s times others were forgotten for room)', i.dealloc) ELSE '' END,
              CASE WHEN s.query ~* 'password' THEN '(text withheld)'
                   ELSE left(regexp_replace(s.query, '\s+', ' ', 'g'), 160) END) AS note
FROM pg_stat_statements AS s
CROSS JOIN pg_stat_statements_info AS i
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.userid
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.dbid
WHERE s.calls >= :slow_query_least_calls::float8 AND s.mean_exec_time >= :slow_query_milliseconds::float8
  AND s.query !~* '^\s*(vacuum|analyze|reindex|create|alter|copy|cluster|refresh)\M'
ORDER BY s.total_exec_time DESC
LIMIT :slow_query_most::float8::bigint;
