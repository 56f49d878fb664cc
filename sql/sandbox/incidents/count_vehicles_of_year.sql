-- purpose: the vehicles of a model year
-- params: year
-- columns: vehicles
SELECT count(*) AS vehicles FROM public.vehicles WHERE year = :year::int
