-- purpose: does the archiver fail, and was that since its settings were last read?
SELECT coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS is_failing,
       coalesce(last_failed_time > pg_catalog.pg_conf_load_time(), false) AS is_new
FROM pg_catalog.pg_stat_archiver
