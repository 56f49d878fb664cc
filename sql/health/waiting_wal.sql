-- purpose: no WAL waits long for the archiver
-- scope: cluster
-- unit: segments
-- rank: 1
-- needs: pg_monitor
-- threshold: waiting_wal_warning_segments = 64 | judgement: 1 GiB in segments of 16 MiB, far more than an archiver lags in normal work
-- threshold: waiting_wal_critical_segments = 640 | judgement: 10 GiB: pg_wal fills its disk soon
-- warning: waiting_wal_warning_segments
-- critical: waiting_wal_critical_segments
-- why: what waits is lost with this disk, and a slow archiver, which never fails, fills it
-- next: look at the archive command's speed and its store; the first segment that waits is named
-- columns: object text; value float8, segments that are ready and not archived; note text
-- source: PostgreSQL 17, pg_ls_archive_statusdir: pg_monitor alone may list it
SELECT 'archive_status' AS object, count(*)::float8 AS value,
       coalesce(format('first %s, since %s', min(name), to_char(min(modification), 'YYYY-MM-DD HH24:MI:SS TZ')), 'none waits') AS note
FROM pg_catalog.pg_ls_archive_statusdir()
WHERE name LIKE '%.ready' AND pg_catalog.current_setting('archive_mode') <> 'off';
