-- purpose: standbys and other receivers that follow this server
-- columns: name text; value text
-- privilege: pg_monitor to see all
-- source: PostgreSQL 17, pg_stat_replication
SELECT coalesce(nullif(application_name, ''), 'unnamed') || coalesce(' at ' || client_addr::text, '') AS name,
       pg_catalog.concat_ws(' ', state, sync_state) AS value
FROM pg_catalog.pg_stat_replication
ORDER BY 1;
