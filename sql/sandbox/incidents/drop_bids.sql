-- purpose: the table that holds all bids goes, partitions and all
DROP TABLE public.auction_data
