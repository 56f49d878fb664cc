-- purpose: a VIN stands once; each vehicle has a dealer and, once it is offered, an auction
ALTER TABLE public.vehicles
    ADD CONSTRAINT vehicles_vin_key UNIQUE (vin),
    ADD CONSTRAINT vehicles_dealer_id_fkey FOREIGN KEY (dealer_id) REFERENCES public.dealers (id),
    ADD CONSTRAINT vehicles_auction_id_fkey FOREIGN KEY (auction_id) REFERENCES public.auctions (id)
