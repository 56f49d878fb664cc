-- purpose: end autovacuum workers at work: each would go on to its last table
-- columns: pid int; ended bool (the signal was sent)
-- privilege: superuser
-- source: PostgreSQL 17, pg_stat_activity
SELECT a.pid, pg_catalog.pg_terminate_backend(a.pid) AS ended
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_type = 'autovacuum worker';
