-- purpose: the first heartbeat
INSERT INTO public.heartbeat (id, beat_at) VALUES (1, now())
