-- purpose: a sequence goes on after a value; one that is there already, or further, stays as it is
-- params: schema text; name text; value bigint
-- columns: value bigint; no row where there was nothing to set
-- privilege: UPDATE on the sequence
-- source: PostgreSQL 17, "Sequence Manipulation Functions"
SELECT pg_catalog.setval(c.oid::regclass, :value::bigint) AS value
FROM pg_catalog.pg_sequence AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(c.oid) AS value) AS now
WHERE n.nspname = :'schema' AND c.relname = :'name'
  AND (now.value IS NULL OR CASE WHEN s.seqincrement > 0 THEN now.value < :value::bigint ELSE now.value > :value::bigint END);
