-- purpose: the heartbeat is as fresh as the application's last write before the recovery point
-- suite: dealerscope
-- expect: heartbeat_age_seconds <= :heartbeat_max_age_seconds
-- expect: rows = 1
-- unit: s
-- severity: critical
-- why: the application writes a heartbeat as long as it writes at all; one that is older than its other rows means that later heartbeats are missing
-- next: compare the application's last rows with the heartbeat's time; look for lost WAL
-- params: recovery_time timestamptz; heartbeat_max_age_seconds number
-- columns: beat_at timestamptz; written_at timestamptz (the newest row of the application); heartbeat_age_seconds numeric (s), NULL where it lies after the point: a clock is or was wrong
SELECT h.beat_at,
       w.written_at,
       CASE WHEN h.beat_at <= :'recovery_time'::timestamptz + interval '1 minute'
            THEN greatest(0, round(extract(epoch FROM w.written_at - h.beat_at), 1)) END AS heartbeat_age_seconds
FROM public.heartbeat AS h
CROSS JOIN (
    SELECT least(:'recovery_time'::timestamptz,
                 greatest((SELECT max(v.created_at) FROM public.vehicles AS v),
                          (SELECT max(d.created_at) FROM public.auction_data AS d),
                          (SELECT max(s.created_at) FROM public.sessions AS s))) AS written_at
) AS w;
