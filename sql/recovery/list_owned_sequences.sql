-- purpose: sequences that a table's columns own (serial, identity), and how far they went
-- params: oid bigint
-- columns: schema text; name text; column_name text; increment bigint; last_value bigint (null: never used)
-- privilege: SELECT or USAGE on the sequences
-- source: PostgreSQL 17, pg_depend, pg_sequence, pg_sequence_last_value
SELECT n.nspname AS schema, c.relname AS name, a.attname AS column_name, s.seqincrement AS increment,
       pg_catalog.pg_sequence_last_value(c.oid) AS last_value
FROM pg_catalog.pg_depend AS d
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = c.oid
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_catalog.pg_class'::regclass
  AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.refobjid = :oid::oid
  AND d.deptype IN ('a', 'i')
ORDER BY n.nspname, c.relname;
