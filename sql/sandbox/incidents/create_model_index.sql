-- purpose: fails, since models repeat, and leaves an invalid index behind
CREATE UNIQUE INDEX CONCURRENTLY vehicles_model_key ON public.vehicles (model)
