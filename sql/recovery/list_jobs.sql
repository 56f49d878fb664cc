-- purpose: scheduled jobs of pg_cron: they run again once the extension's worker runs
-- columns: name text; value text (the schedule)
-- privilege: superuser, else the row-level security of cron.job hides others' jobs
-- source: pg_cron 1.6, README
SELECT 'job ' || jobid::text || ' in ' || database AS name,
       schedule || CASE WHEN active THEN '' ELSE ' (inactive)' END AS value
FROM cron.job
ORDER BY 1;
