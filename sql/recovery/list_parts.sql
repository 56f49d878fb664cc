-- purpose: which object each of these belongs to, so that it goes when that goes
-- params: classes bigint[]; objects bigint[]
-- columns: class bigint; oid bigint; whole_class bigint; whole bigint
-- privilege: none
-- source: PostgreSQL 17, pg_depend: automatic, internal, partition and extension dependencies
SELECT d.classid::bigint AS class, d.objid::bigint AS oid, d.refclassid::bigint AS whole_class, d.refobjid::bigint AS whole
FROM ROWS FROM (pg_catalog.unnest(:classes::bigint[]), pg_catalog.unnest(:objects::bigint[])) AS w (class, oid)
JOIN pg_catalog.pg_depend AS d ON d.classid = w.class::oid AND d.objid = w.oid::oid
WHERE d.deptype IN ('a', 'i', 'P', 'S', 'e');
