-- purpose: a clean-up that forgot half of its condition: vehicles of a model year go, and their bids with them
-- params: year
DELETE FROM public.vehicles WHERE year = :year::int
