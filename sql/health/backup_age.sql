-- purpose: the newest base backup is young enough
-- scope: cluster
-- unit: h
-- rank: 1
-- given: backup_label, backup_at, backup_unseen
-- threshold: backup_age_warning_hours = 26 | judgement: a backup each day, and two hours for it to be late
-- threshold: backup_age_critical_hours = 192 | judgement: a backup each week, and one day for it to be late
-- warning: backup_age_warning_hours
-- critical: backup_age_critical_hours
-- why: each recovery replays all WAL since the newest backup, and one damaged segment of it ends it
-- next: take a base backup now, and look why the last one did not come
-- columns: object text; value float8, hours since the newest backup began, or since the system was made when there is none;
--   note text; unmeasured text
-- source: PostgreSQL 17, backup_label; the upper half of a system identifier is when initdb made it (BootStrapXLOG in xlog.c). A time that
--   lies more than a minute after the server's clock is no age: that clock, or the one by which the backup was begun, is or was wrong
SELECT 'newest base backup' AS object,
       round(extract(epoch FROM clock_timestamp() - coalesce(:'backup_at'::timestamptz, made.at))::numeric / 3600, 2)::float8 AS value,
       CASE WHEN :'backup_at'::timestamptz IS NULL THEN format('there is none; the system was made at %s', made.at)
            ELSE format('%s, begun at %s', :'backup_label'::text, :'backup_at'::timestamptz) END AS note,
       coalesce(:'backup_unseen'::text,
                CASE WHEN coalesce(:'backup_at'::timestamptz, made.at) > clock_timestamp() + interval '1 minute'
                     THEN format('%s at %s, and the clock of the server says %s: a clock is or was wrong',
                                 coalesce(:'backup_label'::text || ' was begun', 'the system was made'),
                                 coalesce(:'backup_at'::timestamptz, made.at), clock_timestamp()) END,
                CASE WHEN :'backup_at'::timestamptz IS NULL AND made.at IS NULL
                                             THEN 'there is no base backup, and the role may not see how old the system is' END) AS unmeasured
FROM (SELECT CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
                  THEN (SELECT to_timestamp(system_identifier >> 32) FROM pg_catalog.pg_control_system()) END AS at) AS made;
