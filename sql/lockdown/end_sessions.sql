-- purpose: end the client backends of everybody but us; their open transactions are rolled back
-- params: application: the application_name of our own connections
-- columns: pid int; ended bool (the signal was sent)
-- privilege: superuser
-- source: PostgreSQL 17, "Server Signaling Functions"
SELECT a.pid, pg_catalog.pg_terminate_backend(a.pid) AS ended
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_type = 'client backend'
  AND a.pid <> pg_catalog.pg_backend_pid()
  AND NOT (a.application_name = pg_catalog.left(:'application'::text, 63) AND a.usename = session_user);
