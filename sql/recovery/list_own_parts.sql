-- purpose: what belongs to these relations and has a definition of its own: defaults, constraints, triggers, policies, rules, indexes
-- params: oids bigint[]
-- columns: relation bigint; class bigint; oid bigint
-- privilege: none
-- source: PostgreSQL 17, pg_depend
SELECT d.refobjid::bigint AS relation, d.classid::bigint AS class, d.objid::bigint AS oid
FROM pg_catalog.pg_depend AS d
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.refobjid = ANY (:oids::bigint[]::oid[])
  AND d.deptype IN ('a', 'i');
