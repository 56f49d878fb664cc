-- purpose: the columns of the catalogs that hold what people have defined, each with what it refers to, so that a row can be told by names instead
--   of numbers; and the file of each catalog, by which WAL names it
-- params: is_shared bool, with the catalogs of the whole server
-- columns: catalog text; oid bigint; is_shared bool; file bigint; name text; type text; is_key bool (of the primary key); refers text, the catalog that
--   it holds an OID of, NULL where it holds none; relation_column text, the column with the table, where it holds numbers of columns; is_array bool
-- privilege: none
-- source: PostgreSQL 15 to 18, pg_get_catalog_foreign_keys
SELECT c.relname::text AS catalog, c.oid::bigint AS oid, c.relisshared AS is_shared, pg_catalog.pg_relation_filenode(c.oid)::bigint AS file,
       a.attname::text AS name, t.typname::text AS type,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey::int2[])) AS is_key,
       f.refers, f.relation_column, coalesce(f.is_array, false) AS is_array
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN LATERAL (
    SELECT p.relname::text AS refers, CASE WHEN pg_catalog.cardinality(k.fkcols) = 2 THEN k.fkcols[1] END AS relation_column, k.is_array
    FROM pg_catalog.pg_get_catalog_foreign_keys() AS k
    JOIN pg_catalog.pg_class AS p ON p.oid = k.pktable
    WHERE k.fktable = c.oid AND k.fkcols[pg_catalog.cardinality(k.fkcols)] = a.attname
    LIMIT 1
) AS f ON true
WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind = 'r' AND c.oid < 16384 AND (NOT c.relisshared OR :is_shared::bool)
ORDER BY c.relname, a.attnum;
