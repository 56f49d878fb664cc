-- purpose: the application says that it is alive
UPDATE public.heartbeat SET beat_at = clock_timestamp() WHERE id = 1
