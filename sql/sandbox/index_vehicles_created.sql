-- purpose: find recent vehicles
CREATE INDEX vehicles_created_at_idx ON public.vehicles (created_at)
