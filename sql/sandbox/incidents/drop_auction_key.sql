-- purpose: vehicles may name auctions that are not there
ALTER TABLE public.vehicles DROP CONSTRAINT vehicles_auction_id_fkey
