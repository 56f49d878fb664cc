-- purpose: processes of the server's own that may write and pass no pg_hba.conf: all but those that PostgreSQL always has
-- columns: pid int; role text; database text; application text; kind text; xid text; since timestamptz
-- privilege: superuser, or pg_read_all_stats
-- source: PostgreSQL 17, pg_stat_activity
SELECT a.pid,
       a.usename::text AS role,
       a.datname::text AS database,
       a.application_name AS application,
       a.backend_type AS kind,
       a.backend_xid::text AS xid,
       a.backend_start AS since
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_type NOT IN (
    'client backend', 'walsender', 'walreceiver', 'archiver', 'startup', 'checkpointer', 'background writer', 'walwriter',
    'walsummarizer', 'autovacuum launcher', 'logical replication launcher', 'slotsync worker', 'parallel worker', 'io worker'
)
ORDER BY a.backend_start;
