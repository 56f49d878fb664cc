-- purpose: how WAL leaves the server
-- scope: cluster
-- needs: pg_read_all_stats
-- columns: item text; value text
-- source: PostgreSQL 17, pg_stat_archiver, archive_timeout
SELECT 'archive_mode' AS item, pg_catalog.current_setting('archive_mode') AS value
UNION ALL SELECT 'archive_timeout', pg_catalog.current_setting('archive_timeout')
UNION ALL SELECT 'segments archived since ' || coalesce(stats_reset::text, 'ever'), archived_count::text FROM pg_catalog.pg_stat_archiver
UNION ALL SELECT 'last archived', coalesce(last_archived_time::text, 'never') FROM pg_catalog.pg_stat_archiver
UNION ALL SELECT 'failures', failed_count::text FROM pg_catalog.pg_stat_archiver
UNION ALL SELECT 'server started', pg_catalog.pg_postmaster_start_time()::text;
