-- purpose: no session sits idle in a transaction
-- scope: cluster
-- unit: s
-- rank: 3
-- needs: pg_read_all_stats
-- threshold: idle_transaction_warning_seconds = 300 | judgement: no application thinks for five minutes
-- threshold: idle_transaction_critical_seconds = 3600 | judgement: vacuum has been held back for an hour
-- warning: idle_transaction_warning_seconds
-- critical: idle_transaction_critical_seconds
-- why: it holds its locks, and keeps vacuum from removing dead rows anywhere
-- next: find out whose it is, end it, and set idle_in_transaction_session_timeout for that role
-- columns: object text; value float8, seconds idle; note text; change text; undo text
-- source: PostgreSQL 17, pg_stat_activity
SELECT format('session %s of %I in %I', pid, usename, datname) AS object,
       round(extract(epoch FROM clock_timestamp() - state_change)::numeric, 1)::float8 AS value,
       format('%s; application %L; its transaction began at %s', state, application_name, xact_start) AS note,
       format('SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = %s AND backend_start = %L AND xact_start = %L AND state = %L;',
              pid, backend_start, xact_start, state) AS change,
       NULL::text AS undo
FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND state LIKE 'idle in transaction%' AND pid <> pg_catalog.pg_backend_pid()
ORDER BY 2 DESC;
