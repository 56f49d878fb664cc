-- purpose: who has a transaction number just now, or may take one: to name whoever commits during the proof of quiet
-- params: application: the application_name of our own connections
-- columns: pid int; role text; database text; application text; address text; kind text; xid text; own bool
-- privilege: superuser, or pg_read_all_stats
-- source: PostgreSQL 17, pg_stat_activity
SELECT a.pid,
       a.usename::text AS role,
       a.datname::text AS database,
       a.application_name AS application,
       pg_catalog.host(a.client_addr) AS address,
       a.backend_type AS kind,
       a.backend_xid::text AS xid,
       (a.application_name = pg_catalog.left(:'application'::text, 63) AND a.usename = session_user) AS own
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_type NOT IN (
    'walsender', 'walreceiver', 'archiver', 'startup', 'checkpointer', 'background writer', 'walwriter', 'walsummarizer',
    'autovacuum launcher', 'logical replication launcher', 'slotsync worker', 'parallel worker', 'io worker'
);
