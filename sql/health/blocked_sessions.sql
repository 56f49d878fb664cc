-- purpose: no session blocks others for long
-- scope: cluster
-- unit: s
-- rank: 2
-- needs: pg_read_all_stats
-- threshold: blocked_warning_seconds = 30 | judgement: a person has noticed by then
-- threshold: blocked_critical_seconds = 300 | judgement: queues form behind it
-- warning: blocked_warning_seconds
-- critical: blocked_critical_seconds
-- why: everything that needs the same lock waits behind the root blocker
-- next: look at the root blocker named here, not at those who wait
-- columns: object text, the root blocker; value float8, longest wait in seconds; note text
-- source: PostgreSQL 17, pg_blocking_pids, pg_stat_activity
WITH RECURSIVE waits AS (
  SELECT a.pid, b.pid AS blocker, a.state_change
  FROM pg_catalog.pg_stat_activity AS a CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b(pid)
  WHERE a.wait_event_type = 'Lock'
), chain AS (
  SELECT pid, blocker, state_change FROM waits
  UNION
  SELECT chain.pid, waits.blocker, chain.state_change FROM chain JOIN waits ON waits.pid = chain.blocker
)
SELECT format('session %s%s', c.blocker, coalesce(format(' of %I in %I', a.usename, a.datname), '')) AS object,
       round(max(extract(epoch FROM clock_timestamp() - c.state_change))::numeric, 1)::float8 AS value,
       format('blocks %s: sessions %s; it is %s, application %L', count(DISTINCT c.pid),
              string_agg(DISTINCT c.pid::text, ', '), coalesce(a.state, 'no session (a prepared transaction)'),
              a.application_name) AS note
FROM chain AS c LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = c.blocker
WHERE NOT EXISTS (SELECT FROM waits WHERE waits.pid = c.blocker)
GROUP BY c.blocker, a.usename, a.datname, a.state, a.application_name
ORDER BY 2 DESC;
