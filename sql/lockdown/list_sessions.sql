-- purpose: who is connected but we ourselves: client backends of everybody else
-- params: application: the application_name of our own connections
-- columns: pid int; role text; database text; application text; address text; kind text; state text; xid text; since timestamptz
-- privilege: superuser, or pg_read_all_stats
-- source: PostgreSQL 17, pg_stat_activity. Query texts are left out: they hold data.
SELECT a.pid,
       a.usename::text AS role,
       a.datname::text AS database,
       a.application_name AS application,
       pg_catalog.host(a.client_addr) AS address,
       a.backend_type AS kind,
       a.state,
       a.backend_xid::text AS xid,
       a.backend_start AS since
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_type = 'client backend'
  AND a.pid <> pg_catalog.pg_backend_pid()
  AND NOT (a.application_name = pg_catalog.left(:'application'::text, 63) AND a.usename = session_user)
ORDER BY a.backend_start;
