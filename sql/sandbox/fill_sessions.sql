-- purpose: sign-ins over the last 30 days
-- params: sessions and users, how many; seed_text, makes the ids differ from seed to seed
INSERT INTO public.sessions (id, user_id, user_agent, created_at, expires_at)
SELECT md5(:'seed_text' || 's' || g)::uuid, random(1, :users::int),
       (ARRAY['Firefox', 'Chrome', 'Safari', 'DealerScope iOS', 'DealerScope Android'])[random(1, 5)],
       start.created_at, start.created_at + interval '14 days'
FROM generate_series(1, :sessions::int) AS g
CROSS JOIN LATERAL (SELECT now() - interval '30 days' * (1 - g::float8 / :sessions::int) AS created_at) AS start
ORDER BY g
