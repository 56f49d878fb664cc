-- purpose: what the server has written is in the archive within the RPO
-- scope: cluster
-- unit: s
-- rank: 1
-- given: segment, segment_at, segments_unseen
-- threshold: archived_wal_critical_seconds = 900 | judgement, where the params had no budgets.rpo
-- critical: archived_wal_critical_seconds
-- why: what is not archived is lost with this disk; pg_stat_archiver believes the archive command, this looks into the archive
-- next: look at pg_stat_archiver and the server's log; where archive_timeout is 0, a segment waits until it is full: set one
-- columns: object text; value float8, age of the last archived segment while the server has written more; note text; unmeasured text
-- source: PostgreSQL 17, archive_timeout: a segment with anything that matters in it is closed after that time. So where no whole
--   segment is missing, no more than that time is; a server that writes nothing archives nothing, and is well. A system's identifier
--   says when initdb made it (BootStrapXLOG in xlog.c): an archive without any segment is as old as that.
--   After a recovery the past timeline may reach further than the server's own: its segments say nothing of what is written now. Segments of a
--   timeline that the server has not reached are another's, and are not given here. A time that lies more than a minute after the server's
--   clock is no age: a clock was or is wrong (that of the server, or of the file system that holds the archive).
WITH server AS (
  SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END
           - '0/0'::pg_lsn AS written,
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')) AS size,
         (SELECT setting::numeric FROM pg_catalog.pg_settings WHERE name = 'archive_timeout') AS timeout,
         CASE WHEN NOT pg_catalog.pg_is_in_recovery()
              THEN ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
         (SELECT last_archived_time FROM pg_catalog.pg_stat_archiver WHERE last_archived_wal = :'segment'::text) AS archived_at,
         CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
              THEN (SELECT to_timestamp(system_identifier >> 32) FROM pg_catalog.pg_control_system()) END AS made_at
), archive AS (
  SELECT server.*, CASE WHEN :'segment'::text IS NULL THEN made_at ELSE coalesce(:'segment_at'::timestamptz, archived_at) END AS at,
         coalesce(('x' || substr(:'segment'::text, 1, 8))::bit(32)::int < timeline, false) AS is_of_the_past,
         written - (('x' || substr(:'segment'::text, 9, 8))::bit(32)::bigint * 4294967296.0
                    + (('x' || substr(:'segment'::text, 17, 8))::bit(32)::bigint + 1) * size) AS waiting
  FROM server
), aged AS (
  SELECT archive.*, CASE WHEN at IS NOT NULL THEN greatest(extract(epoch FROM clock_timestamp() - at), 0) END AS age, at > clock_timestamp() + interval '1 minute' AS is_future
  FROM archive
)
SELECT 'last archived segment' AS object,
       round(CASE WHEN is_of_the_past THEN age
                  WHEN waiting <= 0 THEN 0
                  WHEN waiting < size AND timeout > 0 THEN least(coalesce(age, timeout), timeout)
                  ELSE age END, 1)::float8 AS value,
       CASE WHEN :'segment'::text IS NULL THEN format('the archive holds no segment of this server; the system was made at %s', at)
            WHEN is_of_the_past
            THEN format('%s, archived at %s; of the timeline %s, which the server is on since, nothing is there', :'segment'::text, at, timeline)
            ELSE format('%s, archived at %s; %s bytes were written since, archive_timeout is %s s', :'segment'::text, at, greatest(waiting, 0)::bigint, timeout)
       END AS note,
       coalesce(:'segments_unseen'::text,
                CASE WHEN is_future
                     THEN format('%s at %s, and the clock of the server says %s: a clock is or was wrong',
                                 coalesce(:'segment'::text || ' was archived', 'the system was made'), at, clock_timestamp()) END,
                CASE WHEN age IS NULL AND (is_of_the_past OR NOT coalesce(waiting <= 0 OR waiting < size AND timeout > 0, false))
                     THEN 'nothing tells since when the archive has got nothing' END) AS unmeasured
FROM aged;
