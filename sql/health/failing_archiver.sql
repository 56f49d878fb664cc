-- purpose: WAL is being archived
-- scope: cluster
-- unit: failures
-- rank: 1
-- any: critical
-- why: without archived WAL nothing after the last base backup can be recovered, and pg_wal fills the disk
-- next: read the server's log for the archive command's words, mend it, and watch last_archived_time
-- columns: object text; value float8, failures since the counters were reset; note text; change text; undo text, none; unmeasured text
-- privilege: none; pg_read_all_settings to see where a setting stands
-- source: PostgreSQL 17, pg_stat_archiver. There is a change only where ALTER SYSTEM has set how to archive and nothing was archived
--   since the configuration was last loaded: postgresql.conf decides again. Any other cause is in the server's log alone. Nothing
--   fails, and nothing is archived, where archive_mode is on and no command or library is named. There is no
--   undo, since an archive command may hold a password, and nothing of it may stand in a report.
WITH overruled AS (
  SELECT string_agg(format('ALTER SYSTEM RESET %I;', name), E'\n' ORDER BY name) AS change,
         string_agg(name, ' and ' ORDER BY name) AS said
  FROM pg_catalog.pg_settings
  WHERE name IN ('archive_command', 'archive_library') AND sourcefile LIKE '%/postgresql.auto.conf'
)
SELECT 'archiver' AS object,
       CASE WHEN s.setting <> 'off' THEN a.failed_count::float8 END AS value,
       CASE WHEN s.is_nothing THEN 'neither archive_command nor archive_library says how to archive; pg_wal keeps every segment'
            ELSE format('last failure %s at %s; last success %s%s', a.last_failed_wal, a.last_failed_time,
              coalesce(format('%s at %s', a.last_archived_wal, a.last_archived_time), 'never'),
              '; ALTER SYSTEM sets ' || o.said || ': keep a copy of postgresql.auto.conf before the reset, after which postgresql.conf decides')
       END AS note,
       o.change || E'\nSELECT pg_catalog.pg_reload_conf();' AS change,
       NULL::text AS undo,
       CASE WHEN s.setting = 'off' THEN 'archive_mode is off: whatever archives this server is not seen from here'
            WHEN NOT s.is_nothing AND s.is_future
            THEN format('the last failure is of %s, the last success of %s, and the clock of the server says %s: a clock was wrong, and which of them came last is not known',
                        a.last_failed_time, coalesce(a.last_archived_time::text, 'never'), clock_timestamp()) END AS unmeasured
FROM pg_catalog.pg_stat_archiver AS a
CROSS JOIN (SELECT pg_catalog.current_setting('archive_mode') AS setting,
                   pg_catalog.current_setting('archive_mode') <> 'off' AND pg_catalog.current_setting('archive_command') = ''
                     AND pg_catalog.current_setting('archive_library') = '' AS is_nothing,
                   t.last_failed_time IS NOT NULL
                     AND greatest(t.last_failed_time, t.last_archived_time) > clock_timestamp() + interval '1 minute' AS is_future
            FROM pg_catalog.pg_stat_archiver AS t) AS s
LEFT JOIN overruled AS o ON coalesce(a.last_archived_time, '-infinity') < pg_catalog.pg_conf_load_time()
WHERE s.setting = 'off' OR s.is_nothing OR s.is_future
   OR a.last_failed_time IS NOT NULL AND a.last_failed_time > coalesce(a.last_archived_time, '-infinity');
