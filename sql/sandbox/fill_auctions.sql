-- purpose: auctions, announced evenly over the last 60 days
-- params: auctions and dealers, how many
INSERT INTO public.auctions (dealer_id, house, lane, status, starts_at, created_at)
SELECT random(1, :dealers::int),
       (ARRAY['Manheim', 'ADESA', 'Copart', 'IAA', 'BCA', 'Carmax'])[random(1, 6)],
       random(1, 24),
       CASE WHEN announced.starts_at < now() - interval '1 day' THEN 'closed'
            WHEN announced.starts_at < now() THEN 'open'
            WHEN g % 40 = 0 THEN 'cancelled'
            ELSE 'scheduled' END::public.auction_status,
       announced.starts_at, announced.created_at
FROM generate_series(1, :auctions::int) AS g
CROSS JOIN LATERAL (
    SELECT now() - interval '60 days' * (1 - g::float8 / :auctions::int) AS created_at,
           date_trunc('hour', now() - interval '60 days' * (1 - g::float8 / :auctions::int))
             + (3 + g % 10) * interval '1 day' AS starts_at
) AS announced
ORDER BY g
