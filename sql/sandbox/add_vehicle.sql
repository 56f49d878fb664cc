-- purpose: a vehicle comes in, in a recent auction
-- params: seed_text, unique; auctions_back, how many auctions from the newest
-- columns: id of the vehicle
INSERT INTO public.vehicles (vin, make, model, year, price, mileage, color, description, dealer_id, auction_id)
SELECT 'JTD' || upper(substr(md5(:'seed_text'), 1, 14)), 'Toyota', 'Prius', extract(year FROM now())::int - 3, 18900.00, 41000,
       'blue', 'Grade 4, clean title, automatic, keys: 2', a.dealer_id, a.id
FROM public.auctions AS a
WHERE a.id = (SELECT max(id) FROM public.auctions) - :auctions_back::int
RETURNING id
