-- purpose: indexes of this database that sort by a collation whose version here is another than the one that it had where they were built: text that is
--   in order there may not be in order here. The database's own collation (oid 100, default) has its version in pg_database
-- columns: oid bigint; collation text; built text, the version that is recorded; here text, the version of this host, NULL where it has none
-- privilege: none
-- source: PostgreSQL 17, pg_collation.collversion, pg_database.datcollversion (since 15)
WITH changed AS (
    SELECT c.oid, c.collname::text AS name, c.collversion AS built, pg_catalog.pg_collation_actual_version(c.oid) AS here
    FROM pg_catalog.pg_collation AS c
    WHERE c.collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(c.oid) AND c.collversion IS NOT NULL
    UNION ALL
    SELECT 100, 'of database ' || d.datname, d.datcollversion, pg_catalog.pg_database_collation_actual_version(d.oid)
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database() AND d.datcollversion IS NOT NULL
      AND d.datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(d.oid)
)
SELECT DISTINCT ON (x.indexrelid) x.indexrelid::bigint AS oid, c.name AS collation, c.built, c.here
FROM pg_catalog.pg_index AS x
CROSS JOIN changed AS c
WHERE c.oid = ANY (x.indcollation::oid[])
   -- An expression or a predicate may compare texts and be no text itself; the database's own collation is in no pg_depend row.
   OR c.oid = 100 AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)
   OR EXISTS (SELECT FROM pg_catalog.pg_depend AS d
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
                AND d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass AND d.refobjid = c.oid)
   -- Ranges and rows of texts.
   OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
              JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
              LEFT JOIN pg_catalog.pg_range AS r ON r.rngtypid = t.oid
              LEFT JOIN pg_catalog.pg_attribute AS p ON p.attrelid = t.typrelid AND p.attnum > 0
              WHERE a.attrelid = x.indexrelid AND c.oid IN (r.rngcollation, p.attcollation))
ORDER BY x.indexrelid;
