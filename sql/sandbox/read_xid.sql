-- purpose: this transaction's number; one is assigned if it has none
SELECT pg_catalog.pg_current_xact_id()::text AS xid
