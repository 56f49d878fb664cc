-- purpose: every extension is as new as its files
-- scope: database
-- unit: extensions
-- rank: 5
-- any: warning
-- why: the fixes that came with the package are not in force, security fixes among them
-- next: ALTER EXTENSION … UPDATE
-- columns: object text; value float8; note text; change text
-- source: PostgreSQL 17, pg_available_extensions
SELECT format('%I', e.extname) AS object, 1::float8 AS value,
       CASE WHEN a.default_version IS NULL THEN format('%s is installed, its files are gone', e.extversion)
            ELSE format('%s is installed, %s is there', e.extversion, a.default_version) END AS note,
       CASE WHEN a.default_version IS NOT NULL THEN format('ALTER EXTENSION %I UPDATE TO %L;', e.extname, a.default_version) END AS change
FROM pg_catalog.pg_extension AS e LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name = e.extname
WHERE a.default_version IS DISTINCT FROM e.extversion ORDER BY 1;
