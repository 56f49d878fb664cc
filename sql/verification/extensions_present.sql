-- purpose: the extensions that the application needs are installed
-- database: main
-- expect: rows = 0
-- unit: extensions
-- severity: error
-- why: a restore without them starts and fails later
-- next: look whether production has them; install them before the application starts
-- params: required_extensions text[]
-- columns: missing_extension text
SELECT r.name AS missing_extension
FROM unnest(:'required_extensions'::text[]) AS r (name)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_extension AS e WHERE e.extname = r.name)
ORDER BY 1;
