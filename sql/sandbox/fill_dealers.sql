-- purpose: dealers in many cities
-- params: dealers, how many
INSERT INTO public.dealers (name, city, state, licence, created_at)
SELECT (ARRAY['Lakeside', 'Summit', 'Heritage', 'Premier', 'Valley', 'Metro', 'Coastal', 'Pioneer'])[random(1, 8)]
         || ' ' || (ARRAY['Motors', 'Auto Group', 'Cars', 'Automotive', 'Auto Sales'])[random(1, 5)] || ' ' || g,
       place.city, place.state, 'DL-' || lpad(g::text, 7, '0'),
       now() - interval '400 days' - random(1, 1000) * interval '1 day'
FROM generate_series(1, :dealers::int) AS g
CROSS JOIN LATERAL (
    SELECT (ARRAY['Columbus', 'Tampa', 'Dallas', 'Phoenix', 'Denver', 'Atlanta', 'Portland', 'Reno'])[1 + g % 8] AS city,
           (ARRAY['OH', 'FL', 'TX', 'AZ', 'CO', 'GA', 'OR', 'NV'])[1 + g % 8] AS state
) AS place
ORDER BY g
