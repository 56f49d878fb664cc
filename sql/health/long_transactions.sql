-- purpose: no transaction runs for hours
-- scope: cluster
-- unit: s
-- rank: 4
-- needs: pg_read_all_stats
-- threshold: long_transaction_warning_seconds = 3600 | judgement: nothing of an application takes an hour
-- threshold: long_transaction_critical_seconds = 21600 | judgement: dead rows of six hours cannot be removed
-- warning: long_transaction_warning_seconds
-- critical: long_transaction_critical_seconds
-- why: no dead row younger than it can be removed
-- next: find out what it does before it is ended
-- columns: object text; value float8, age in seconds; note text
-- source: PostgreSQL 17, pg_stat_activity; walsenders, backups by pg_dump and idle sessions are left out. A prepared transaction holds its
--   locks and keeps dead rows as one that runs, has no session, and survives a restart
SELECT format('session %s of %I in %I', pid, usename, datname) AS object,
       round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 1)::float8 AS value,
       format('%s; application %L', state, application_name) AS note
FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND state = 'active'
  AND application_name NOT LIKE 'pg_dump%' AND pid <> pg_catalog.pg_backend_pid()
UNION ALL
SELECT format('prepared transaction %L of %I in %I', gid, owner, database),
       round(extract(epoch FROM clock_timestamp() - prepared)::numeric, 1)::float8,
       format('prepared at %s; ask its transaction manager, then COMMIT PREPARED or ROLLBACK PREPARED in that database', prepared)
FROM pg_catalog.pg_prepared_xacts
ORDER BY 2 DESC;
