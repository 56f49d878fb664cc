-- purpose: some vehicles name auctions that are not there
-- params: part, one of every hundred vehicles
UPDATE public.vehicles SET auction_id = auction_id + 1000000000 WHERE auction_id IS NOT NULL AND id % 100 = :part::int
