-- purpose: a bid goes with its vehicle
ALTER TABLE public.auction_data
    ADD CONSTRAINT auction_data_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicles (id) ON DELETE CASCADE
