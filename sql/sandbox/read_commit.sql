-- purpose: how a transaction ended, and when it committed (microseconds, UTC)
-- params: xid as text
SELECT pg_catalog.pg_xact_status(:'xid'::xid8) AS status,
       pg_catalog.pg_xact_commit_timestamp(:'xid'::xid8::xid) AS committed_at
