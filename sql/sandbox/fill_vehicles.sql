-- purpose: vehicles, entered evenly over the last 60 days; one in eight is not yet in an auction
-- params: vehicles, auctions and dealers, how many; seed_text, makes the VINs differ from seed to seed
INSERT INTO public.vehicles (vin, make, model, year, price, mileage, color, description, dealer_id, auction_id, created_at)
SELECT kind.wmi || upper(substr(md5(:'seed_text' || g), 1, 8)) || lpad((g % 1000000)::text, 6, '0'),
       kind.make, kind.models[1 + (g / 8) % 4], car.year,
       round((kind.new_price * power(0.88::float8, extract(year FROM now())::int - car.year) * (0.85 + random() * 0.3))::numeric, 2),
       greatest(0, (extract(year FROM now())::int - car.year) * 11000 + random(0, 9000)),
       (ARRAY['white', 'black', 'silver', 'grey', 'blue', 'red', 'green'])[random(1, 7)],
       'Grade ' || random(1, 5) || ', ' || (ARRAY['clean title', 'rebuilt title', 'fleet return', 'lease return'])[random(1, 4)]
         || ', ' || (ARRAY['automatic', 'manual'])[random(1, 2)] || ', keys: ' || random(1, 3) || ', lot ' || g,
       random(1, :dealers::int),
       CASE WHEN g % 8 <> 0
            THEN greatest(1, ceil(g::float8 * :auctions::int / :vehicles::int)::int - random(0, 9)) END,
       now() - interval '60 days' * (1 - g::float8 / :vehicles::int)
FROM generate_series(1, :vehicles::int) AS g
CROSS JOIN LATERAL (SELECT extract(year FROM now())::int - random(0, 15) AS year, random(1, 6) AS pick, g AS n) AS car
JOIN (VALUES
    (1, '1HG', 'Honda', ARRAY['Civic', 'Accord', 'CR-V', 'Pilot'], 31000),
    (2, '4T1', 'Toyota', ARRAY['Camry', 'Corolla', 'RAV4', 'Tacoma'], 33000),
    (3, '1FT', 'Ford', ARRAY['F-150', 'Escape', 'Explorer', 'Mustang'], 42000),
    (4, 'WBA', 'BMW', ARRAY['320i', '530i', 'X3', 'X5'], 58000),
    (5, '5YJ', 'Tesla', ARRAY['Model 3', 'Model Y', 'Model S', 'Model X'], 52000),
    (6, 'KMH', 'Hyundai', ARRAY['Elantra', 'Sonata', 'Tucson', 'Santa Fe'], 28000)
) AS kind (n, wmi, make, models, new_price) ON kind.n = car.pick
ORDER BY g
