-- purpose: every sequence of this database, owned by a column or not, with how far it went
-- columns: oid bigint; schema text; name text; owner text; feeds text (the column that owns it, null: none does); increment bigint;
--   minimum bigint; maximum bigint; cache bigint; cycles bool; last_value bigint (null: never used); file text (below the data directory)
-- privilege: SELECT or USAGE on the sequences
-- source: PostgreSQL 17, pg_sequence, pg_depend, pg_sequence_last_value; unlogged ones stay out: a recovery resets them
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
       (SELECT pg_catalog.format('%I.%I.%I', tn.nspname, t.relname, a.attname)
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_class AS t ON t.oid = d.refobjid
        JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
        LIMIT 1) AS feeds,
       s.seqincrement AS increment,
       s.seqmin AS minimum,
       s.seqmax AS maximum,
       s.seqcache AS cache,
       s.seqcycle AS cycles,
       pg_catalog.pg_sequence_last_value(c.oid) AS last_value,
       pg_catalog.pg_relation_filepath(c.oid) AS file
FROM pg_catalog.pg_sequence AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'p'
ORDER BY n.nspname, c.relname;
