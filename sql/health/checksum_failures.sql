-- purpose: no data page has failed its checksum
-- scope: cluster
-- unit: failures
-- rank: 1
-- any: critical
-- why: data on the disk is damaged
-- next: runbook run backup-verification, then restore the damaged relation; keep the damaged files
-- columns: object text; value float8, failures; note text; unmeasured text
-- source: PostgreSQL 17, pg_stat_database.checksum_failures, NULL while checksums are off
SELECT CASE WHEN datid = 0 THEN 'shared catalogs' ELSE format('database %I', datname) END AS object,
       checksum_failures::float8 AS value,
       format('last at %s', checksum_last_failure) AS note,
       CASE WHEN checksum_failures IS NULL THEN 'data_checksums is off: damage on the disk is not noticed (pg_checksums --enable)' END
         AS unmeasured
FROM pg_catalog.pg_stat_database
WHERE checksum_failures > 0 OR checksum_failures IS NULL AND datid = 0;
