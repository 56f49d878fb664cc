-- purpose: all bids
-- columns: bids
SELECT count(*) AS bids FROM public.auction_data
