-- purpose: find the vehicles of an auction
CREATE INDEX vehicles_auction_id_idx ON public.vehicles (auction_id)
