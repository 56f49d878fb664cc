-- purpose: the critical tables hold rows
-- suite: dealerscope
-- expect: row_count > 0
-- unit: rows
-- severity: critical
-- why: an empty vehicles or auctions table is the plainest sign of a restore that lost data
-- next: compare with production's counts at the recovery point; look for a TRUNCATE or DELETE before it
-- columns: table_name text; row_count bigint (rows); latest_record timestamptz
-- source: the runbook's verification-queries.sql, critical data volume checks
SELECT 'vehicles' AS table_name, count(*) AS row_count, max(created_at) AS latest_record
FROM public.vehicles
UNION ALL
SELECT 'auctions', count(*), max(created_at)
FROM public.auctions;
