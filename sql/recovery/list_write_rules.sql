-- purpose: a table's own rules that rewrite an INSERT or UPDATE of it
-- params: oid bigint
-- columns: name text
-- privilege: none
-- source: PostgreSQL 17, pg_rewrite.ev_type
SELECT r.rulename AS name
FROM pg_catalog.pg_rewrite AS r
WHERE r.ev_class = :oid::oid AND r.ev_type IN ('2', '3') AND r.ev_enabled IN ('O', 'A')
ORDER BY name;
