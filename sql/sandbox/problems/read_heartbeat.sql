-- purpose: what the session reads whose transaction then stays open
SELECT beat_at FROM public.heartbeat
