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
-- source: PostgreSQL 17, pg_blocking_pids (0: a prepared transaction), pg_locks.waitstart, pg_stat_activity. A worker of a parallel query waits
--   for its leader's sake, and is counted as its leader
WITH RECURSIVE waits AS (
  SELECT coalesce(a.leader_pid, a.pid) AS pid, b.pid AS blocker, coalesce(l.since, clock_timestamp()) AS since
  FROM pg_catalog.pg_stat_activity AS a CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b(pid)
  LEFT JOIN (SELECT k.pid, min(k.waitstart) AS since FROM pg_catalog.pg_locks AS k WHERE NOT k.granted GROUP BY k.pid) AS l ON l.pid = a.pid
  WHERE a.wait_event_type = 'Lock' AND b.pid <> coalesce(a.leader_pid, a.pid)
), chain AS (
  SELECT pid, blocker, since FROM waits
  UNION
  SELECT chain.pid, waits.blocker, chain.since FROM chain JOIN waits ON waits.pid = chain.blocker
)
SELECT CASE c.blocker WHEN 0 THEN 'a prepared transaction'
            ELSE format('session %s', c.blocker) || coalesce(' of ' || quote_ident(a.usename), format(' (%s)', a.backend_type), '')
                   || coalesce(' in ' || quote_ident(a.datname), '') END AS object,
       round(max(extract(epoch FROM clock_timestamp() - c.since))::numeric, 1)::float8 AS value,
       format('blocks %s: sessions %s; %s', count(DISTINCT c.pid), string_agg(DISTINCT c.pid::text, ', '),
              CASE c.blocker WHEN 0 THEN 'prepared are ' || (SELECT string_agg(format('%L in %I', p.gid, p.database), ', ' ORDER BY p.prepared)
                                                             FROM pg_catalog.pg_prepared_xacts AS p)
                             ELSE format('it is %s, application %L', coalesce(a.state, a.backend_type, 'gone'), a.application_name) END) AS note
FROM chain AS c LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = c.blocker
WHERE NOT EXISTS (SELECT FROM waits WHERE waits.pid = c.blocker)
GROUP BY c.blocker, a.usename, a.datname, a.state, a.backend_type, a.application_name
ORDER BY 2 DESC;
