-- purpose: the archive holds no timeline that the server has not reached
-- scope: cluster
-- unit: timelines
-- rank: 2
-- given: later_timelines, later_named
-- any: warning
-- why: PostgreSQL's default (recovery_target_timeline = latest) would follow it: what production wrote since its fork would be missing, without an error
-- next: find out who archived it (a restored copy that was promoted with production's archive_command?), then move its files out of the archive
-- columns: object text; value float8, timelines later than the one that the server writes; note text
-- source: PostgreSQL 17, "Continuous Archiving", Timelines; a standby may follow any of them, so none is given there
SELECT 'WAL archive' AS object, :'later_timelines'::text::float8 AS value, :'later_named'::text AS note
WHERE :'later_timelines'::text IS NOT NULL;
