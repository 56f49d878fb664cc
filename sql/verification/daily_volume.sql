-- purpose: each of the seven days before the recovery point has new vehicles
-- suite: dealerscope
-- expect: daily_volume > 0
-- expect: rows = 7
-- unit: rows
-- severity: error
-- why: a day without rows between days with rows is a hole in the data; days are counted back from the
--   recovery point, since NOW() says nothing about a restored past
-- next: compare that day with production
-- params: recovery_time timestamptz
-- columns: day_begins timestamptz; daily_volume bigint (rows)
-- source: the runbook's verification-queries.sql, recent data consistency
SELECT d.day_begins, count(v.id) AS daily_volume
FROM (SELECT :'recovery_time'::timestamptz - make_interval(days => n) AS day_begins FROM generate_series(1, 7) AS n) AS d
LEFT JOIN public.vehicles AS v
  ON v.created_at >= d.day_begins AND v.created_at < d.day_begins + interval '1 day'
GROUP BY d.day_begins
ORDER BY d.day_begins DESC;
