-- purpose: WAL is being archived
-- scope: cluster
-- unit: failures
-- rank: 1
-- any: critical
-- why: without archived WAL nothing after the last base backup can be recovered, and pg_wal fills the disk
-- next: read the server's log for the archive command's words, mend it, and watch last_archived_time
-- columns: object text; value float8, failures since the counters were reset; note text; unmeasured text
-- privilege: none
-- source: PostgreSQL 17, pg_stat_archiver
SELECT 'archiver' AS object,
       CASE WHEN s.setting <> 'off' THEN a.failed_count::float8 END AS value,
       format('last failure %s at %s; last success %s', a.last_failed_wal, a.last_failed_time,
              coalesce(format('%s at %s', a.last_archived_wal, a.last_archived_time), 'never')) AS note,
       CASE WHEN s.setting = 'off' THEN 'archive_mode is off: whatever archives this server is not seen from here' END
         AS unmeasured
FROM pg_catalog.pg_stat_archiver AS a
CROSS JOIN (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'archive_mode') AS s
WHERE s.setting = 'off'
   OR a.last_failed_time IS NOT NULL AND a.last_failed_time > coalesce(a.last_archived_time, '-infinity');
