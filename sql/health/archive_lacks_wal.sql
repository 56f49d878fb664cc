-- purpose: the archive holds what the archiver has archived
-- scope: cluster
-- unit: segments
-- rank: 1
-- given: segment, segments_unseen
-- any: critical
-- why: the server removes what it thinks is archived, so a segment that is not there is lost, and nobody will archive it again
-- next: look for the segments in pg_wal and on standbys, and at what removed them or at an archive_command that ends with 0 too early; take a base backup now
-- columns: object text; value float8, segments that the archive lacks; note text; unmeasured text
-- source: PostgreSQL 17, pg_stat_archiver. The archive is listed before the server is asked: what was archived in the last minute may be missing
--   from that list
WITH told AS (
  SELECT a.last_archived_wal AS last, a.last_archived_time AS at, :'segment'::text AS segment,
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')) AS size
  FROM pg_catalog.pg_stat_archiver AS a
  WHERE NOT pg_catalog.pg_is_in_recovery() AND a.last_archived_wal ~ '^[0-9A-F]{24}$'
    AND a.last_archived_time < clock_timestamp() - interval '1 minute'
)
SELECT 'newest archived segments' AS object,
       CASE WHEN segment IS NULL THEN 1 ELSE
       (('x' || substr(last, 9, 8))::bit(32)::bigint - ('x' || substr(segment, 9, 8))::bit(32)::bigint)::float8 * (4294967296.0 / size)
         + (('x' || substr(last, 17, 8))::bit(32)::bigint - ('x' || substr(segment, 17, 8))::bit(32)::bigint) END AS value,
       format('pg_stat_archiver says that %s was archived at %s; the newest whole segment in the archive is %s', last, at,
              coalesce(segment, 'none')) AS note,
       NULL::text AS unmeasured
FROM told
WHERE :'segments_unseen'::text IS NULL
  AND (segment IS NULL OR last > segment AND substr(last, 1, 8) = substr(segment, 1, 8));
