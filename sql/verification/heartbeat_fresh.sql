-- purpose: the heartbeat is as fresh as the recovery point
-- suite: dealerscope
-- expect: heartbeat_age_seconds <= :heartbeat_max_age_seconds
-- expect: rows = 1
-- unit: s
-- severity: critical
-- why: the application writes a heartbeat all the time; an old one at the point means that later commits are missing
-- next: compare the point's last commit with the heartbeat's time; look for lost WAL
-- params: recovery_time timestamptz; heartbeat_max_age_seconds number
-- columns: beat_at timestamptz; heartbeat_age_seconds numeric (s), NULL where it lies after the point: a clock is or was wrong
SELECT beat_at, CASE WHEN beat_at <= :'recovery_time'::timestamptz + interval '1 minute'
                     THEN round(extract(epoch FROM :'recovery_time'::timestamptz - beat_at), 1) END AS heartbeat_age_seconds
FROM public.heartbeat;
