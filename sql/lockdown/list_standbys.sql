-- purpose: who streams this server's WAL: standbys and archives; after a recovery they follow another history
-- columns: name text; role text; address text; state text; sync text; replayed text (LSN); since timestamptz
-- privilege: superuser, or pg_read_all_stats
-- source: PostgreSQL 17, pg_stat_replication
SELECT r.application_name AS name,
       r.usename::text AS role,
       pg_catalog.host(r.client_addr) AS address,
       r.state,
       r.sync_state AS sync,
       r.replay_lsn::text AS replayed,
       r.backend_start AS since
FROM pg_catalog.pg_stat_replication AS r
ORDER BY r.backend_start;
