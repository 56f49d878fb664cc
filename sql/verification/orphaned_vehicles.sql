-- purpose: every vehicle's auction exists
-- suite: dealerscope
-- expect: orphaned_vehicles = 0
-- unit: rows
-- severity: error
-- why: a vehicle that points to no auction means rows of one table were lost, or a foreign key was bypassed
-- next: list the vehicles; look whether production has them too
-- columns: orphaned_vehicles bigint (rows)
-- source: the runbook's verification-queries.sql, referential integrity checks
SELECT count(*) AS orphaned_vehicles
FROM public.vehicles AS v
LEFT JOIN public.auctions AS a ON a.id = v.auction_id
WHERE a.id IS NULL AND v.auction_id IS NOT NULL;
