-- purpose: a table's own triggers and rules that act when a row is inserted or updated
-- params: oid bigint
-- columns: name text; is_rule bool; events text (such as INSERT or UPDATE)
-- privilege: none
-- source: PostgreSQL 17, pg_trigger.tgtype, pg_rewrite.ev_type
SELECT t.tgname AS name, false AS is_rule,
       pg_catalog.concat_ws(' or ', CASE WHEN t.tgtype & 4 <> 0 THEN 'INSERT' END, CASE WHEN t.tgtype & 16 <> 0 THEN 'UPDATE' END) AS events
FROM pg_catalog.pg_trigger AS t
WHERE t.tgrelid = :oid::oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 20 <> 0
UNION ALL
SELECT r.rulename, true, CASE r.ev_type WHEN '2' THEN 'UPDATE' ELSE 'INSERT' END
FROM pg_catalog.pg_rewrite AS r
WHERE r.ev_class = :oid::oid AND r.ev_type IN ('2', '3') AND r.ev_enabled IN ('O', 'A')
ORDER BY name;
