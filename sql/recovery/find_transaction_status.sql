-- purpose: what became of a transaction that said its number before it committed
-- params: xid text (with epoch)
-- columns: status text (committed, aborted, in progress; null: too old to be known)
-- privilege: none
-- source: PostgreSQL 17, pg_xact_status
SELECT pg_catalog.pg_xact_status(:'xid'::text::xid8) AS status;
