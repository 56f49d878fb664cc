-- purpose: find the bids on a vehicle
CREATE INDEX auction_data_vehicle_id_idx ON public.auction_data (vehicle_id)
