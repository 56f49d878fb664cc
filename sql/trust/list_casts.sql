-- purpose: the casts by a function that any expression over these columns and types may call without naming it
-- params: $1 relations oid[]; $2 types oid[]; $3 functions that may be called oid[]; $4 whether a superuser's are listed, too;
--   $5 names of the columns that are read text[], NULL for all, and for rows as a whole
-- columns: cast_name text; function text
-- privilege: none
-- source: PostgreSQL 17, pg_cast: a cast has no schema, no search_path hides it; pg_attribute, pg_type, pg_range
WITH RECURSIVE part (type) AS (
  SELECT s.type
  FROM (
    SELECT a.atttypid AS type FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
      AND (a.attname = ANY ($5::text[]) OR $5::text[] IS NULL)
    UNION ALL
    SELECT c.reltype FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ($1::oid[]) AND $5::text[] IS NULL
    UNION ALL
    SELECT unnest($2::oid[])
  ) AS s
  UNION
  SELECT n.type
  FROM part AS p
  CROSS JOIN LATERAL (
    SELECT u.type FROM pg_catalog.pg_type AS t CROSS JOIN LATERAL unnest(ARRAY[t.typelem, t.typbasetype, t.typarray]) AS u (type) WHERE t.oid = p.type
    UNION ALL
    SELECT a.atttypid FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE t.oid = p.type AND t.typrelid <> 0
    UNION ALL
    SELECT u.type FROM pg_catalog.pg_range AS g CROSS JOIN LATERAL unnest(ARRAY[g.rngsubtype, g.rngtypid, g.rngmultitypid]) AS u (type)
    WHERE p.type IN (g.rngtypid, g.rngmultitypid)
  ) AS n
  WHERE n.type >= 16384
)
SELECT format('the cast from %s to %s', pg_catalog.format_type(k.castsource, NULL), pg_catalog.format_type(k.casttarget, NULL)) AS cast_name,
       format('%I.%I(%s)', n.nspname, f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid)) AS function
FROM pg_catalog.pg_cast AS k
JOIN pg_catalog.pg_proc AS f ON f.oid = k.castfunc AND f.oid >= 16384
JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = f.proowner
WHERE EXISTS (SELECT FROM part AS p WHERE p.type >= 16384 AND p.type IN (k.castsource, k.casttarget))
  -- 12 and 13 are the languages internal and c: nobody but a superuser brings code in there, but each range type has a cast of its own.
  AND f.prolang <> 12 AND (f.prolang <> 13 AND coalesce(NOT r.rolsuper, true) OR $4::boolean) AND f.oid <> ALL ($3::oid[])
ORDER BY 1;
