-- purpose: collations sort as they did when indexes were built
-- scope: cluster
-- unit: databases
-- rank: 2
-- any: critical
-- why: an index on text that was built under another order misses rows and lets duplicates in
-- next: REINDEX DATABASE CONCURRENTLY in that database, then ALTER DATABASE … REFRESH COLLATION VERSION
-- columns: object text; value float8; note text; change text; undo text, none; run_in text
-- source: PostgreSQL 17, pg_database.datcollversion, pg_database_collation_actual_version. Collations that columns name: stale_collations
SELECT format('database %I', datname) AS object, 1::float8 AS value,
       format('built under version %s, now %s', datcollversion, pg_catalog.pg_database_collation_actual_version(oid)) AS note,
       CASE WHEN datallowconn
            THEN format(E'REINDEX DATABASE CONCURRENTLY %I;\nALTER DATABASE %I REFRESH COLLATION VERSION;', datname, datname) END AS change,
       NULL::text AS undo, datname::text AS run_in
FROM pg_catalog.pg_database
WHERE datconnlimit <> -2 AND datcollversion IS NOT NULL AND datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(oid)
ORDER BY 1;
