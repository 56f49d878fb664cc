-- purpose: each auction has a dealer
ALTER TABLE public.auctions
    ADD CONSTRAINT auctions_dealer_id_fkey FOREIGN KEY (dealer_id) REFERENCES public.dealers (id)
