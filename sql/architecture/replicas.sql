-- purpose: who receives WAL from this server now
-- scope: cluster
-- needs: pg_read_all_stats
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_stat_replication; a base backup that runs shows as pg_basebackup
SELECT format('%s at %s', coalesce(nullif(application_name, ''), 'without a name'), coalesce(client_addr::text, 'a socket')) AS item,
       sync_state, usename AS role
FROM pg_catalog.pg_stat_replication WHERE application_name <> 'pg_basebackup' ORDER BY 1;
