-- purpose: prepared transactions: they hold locks, and whoever comes in may still commit them
-- columns: gid text; xid text; role text; database text; since timestamptz
-- privilege: CONNECT
-- source: PostgreSQL 17, pg_prepared_xacts
SELECT p.gid, p.transaction::text AS xid, p.owner::text AS role, p.database::text AS database, p.prepared AS since
FROM pg_catalog.pg_prepared_xacts AS p
ORDER BY p.prepared;
