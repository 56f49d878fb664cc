-- purpose: no statement is slow as a habit
-- scope: cluster
-- unit: ms
-- rank: 6
-- given: statements_before, statements_at, statement_texts
-- needs: extension:pg_stat_statements, pg_read_all_stats
-- threshold: slow_query_milliseconds = 1000 | source runbook, section 5: queries slower than 1 second
-- threshold: slow_query_least_calls = 5 | judgement: a statement that ran less often is a one-off, such as maintenance
-- threshold: slow_query_window_hours = 20 | judgement: a daily look; what hardly ran since an earlier one is slow no more
-- threshold: slow_query_most = 10 | source runbook, section 5: LIMIT 10
-- warning: slow_query_milliseconds
-- why: its users wait, and it takes what others need
-- next: EXPLAIN (ANALYZE, BUFFERS) it with real values on staging
-- columns: object text; value float8, mean execution time since the look before; since the counters began where that says nothing; note text
-- source: PostgreSQL 17, F.30; total_exec_time since 13; since 17 stats_since of each statement. Utility text that names a password is withheld.
--   One text in another encoding than this database's makes the extension refuse all of them: they are asked without texts then
WITH before AS (
  SELECT key, (value ->> 0)::float8 AS calls, (value ->> 1)::float8 AS milliseconds
  FROM jsonb_each(coalesce(:'statements_before'::text, '{}')::jsonb)
), counted AS (
  SELECT s.*, i.dealloc, b.calls AS calls_before, b.milliseconds AS milliseconds_before,
         coalesce((to_jsonb(s) ->> 'stats_since')::timestamptz, i.stats_reset) AS began
  FROM :pg_stat_statements.pg_stat_statements(:'statement_texts'::boolean) AS s
  CROSS JOIN :pg_stat_statements.pg_stat_statements_info AS i
  LEFT JOIN before AS b ON b.key = format('%s %s %s %s', s.userid, s.dbid, s.queryid, s.toplevel)
), judged AS (
  SELECT c.*, c.calls - coalesce(c.calls_before, 0) * d.is_meant AS ran,
         c.total_exec_time - coalesce(c.milliseconds_before, 0) * d.is_meant AS took,
         CASE d.is_meant WHEN 1 THEN :'statements_at'::timestamptz ELSE c.began END AS since
  FROM counted AS c
  CROSS JOIN LATERAL (
    SELECT CASE WHEN c.began <= :'statements_at'::timestamptz AND c.calls_before <= c.calls AND c.milliseconds_before <= c.total_exec_time
                 AND (c.calls - c.calls_before >= :slow_query_least_calls::float8
                      OR :'statements_at'::timestamptz <= now() - :slow_query_window_hours::float8 * interval '1 hour')
                THEN 1 ELSE 0 END AS is_meant
  ) AS d
)
SELECT format('query %s of %s in %s%s', j.queryid, coalesce(r.rolname, j.userid::text), coalesce(d.datname, j.dbid::text),
              CASE WHEN j.toplevel THEN '' ELSE ', nested' END) AS object,
       round((j.took / j.ran)::numeric, 1)::float8 AS value,
       format('%s calls, %s s in all, since %s%s: %s', j.ran, round((j.took / 1000)::numeric, 1), to_char(j.since, 'YYYY-MM-DD HH24:MI'),
              CASE WHEN j.dealloc > 0 THEN format(' (%s times others were forgotten for room)', j.dealloc) ELSE '' END,
              CASE WHEN j.query IS NULL THEN '(no text: one of the statements is not in the encoding of this database)'
                   WHEN j.query ~* 'password' THEN '(text withheld)'
                   ELSE left(regexp_replace(j.query, '\s+', ' ', 'g'), 160) END) AS note
FROM (SELECT * FROM judged WHERE ran > 0) AS j
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = j.userid
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = j.dbid
WHERE j.ran >= :slow_query_least_calls::float8 AND j.took / j.ran >= :slow_query_milliseconds::float8
  AND coalesce(j.query, '') !~* '^\s*(vacuum|analyze|reindex|create|alter|copy|cluster|refresh)\M'
ORDER BY j.took DESC
LIMIT :slow_query_most::float8::bigint;
