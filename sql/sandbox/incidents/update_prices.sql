-- purpose: a price correction that forgot most of its condition
-- params: year
UPDATE public.vehicles SET price = 0 WHERE year >= :year::int
