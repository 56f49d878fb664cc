-- purpose: the bids that go with the vehicles of a model year
-- params: year
-- columns: bids
SELECT count(*) AS bids
FROM public.auction_data AS d
JOIN public.vehicles AS v ON v.id = d.vehicle_id
WHERE v.year = :year::int
