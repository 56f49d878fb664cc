-- purpose: columns of these tables by the transaction that wrote their row of pg_attribute last: who dropped a column, or changed its type
-- params: oids bigint[]
-- columns: oid bigint; number bigint; name text; is_dropped bool; xid bigint (32 bits, as the row has it; it stays readable after freezing)
-- privilege: none
-- source: PostgreSQL 17, pg_attribute
SELECT a.attrelid::bigint AS oid,
       a.attnum::bigint AS number,
       a.attname AS name,
       a.attisdropped AS is_dropped,
       a.xmin::text::bigint AS xid
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = ANY (:oids::bigint[]::oid[]) AND a.attnum > 0;
