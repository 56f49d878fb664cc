-- purpose: a bid on a vehicle, 50 dollars above the highest
-- params: vehicle; bidder
-- columns: id of the bid; no row when the vehicle is gone
INSERT INTO public.auction_data (vehicle_id, bidder_id, amount)
SELECT v.id, :bidder::bigint,
       coalesce((SELECT max(d.amount) FROM public.auction_data AS d WHERE d.vehicle_id = v.id), v.price * 0.7) + 50
FROM public.vehicles AS v
WHERE v.id = :vehicle::bigint
RETURNING id
