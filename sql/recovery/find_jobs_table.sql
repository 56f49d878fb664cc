-- purpose: whether this database has pg_cron's table of jobs
-- columns: found bool
-- privilege: none
-- source: pg_cron 1.6, README
SELECT pg_catalog.to_regclass('cron.job') IS NOT NULL AS found;
