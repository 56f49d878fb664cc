-- purpose: one more bid on one vehicle in sixteen: heavy traffic on heap, indexes and WAL
-- params: part, 0 to 15
INSERT INTO public.auction_data (vehicle_id, bidder_id, amount)
SELECT id, 1, price
FROM public.vehicles
WHERE id % 16 = :part::int
