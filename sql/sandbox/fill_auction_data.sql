-- purpose: up to seven rising bids on each vehicle that is in an auction
-- params: users, how many
INSERT INTO public.auction_data (vehicle_id, bidder_id, amount, created_at)
SELECT v.id, random(1, :users::int), round(v.price * (0.7 + 0.05 * bid), 2),
       least(v.created_at + bid * interval '37 minutes', now())
FROM public.vehicles AS v
CROSS JOIN LATERAL generate_series(1, 1 + (v.id % 7)::int) AS bid
WHERE v.auction_id IS NOT NULL
