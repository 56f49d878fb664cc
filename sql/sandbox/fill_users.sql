-- purpose: users who signed up over the last two years
-- params: users, how many; seed_text, makes the hashes differ from seed to seed
INSERT INTO public.users (email, full_name, password_hash, is_active, created_at)
SELECT lower(person.first_name || '.' || person.last_name) || g || '@dealerscope.example',
       person.first_name || ' ' || person.last_name,
       '$2b$12$' || substr(md5(:'seed_text' || 'a' || g) || md5(:'seed_text' || 'b' || g), 1, 53),
       g % 25 <> 0,
       now() - interval '730 days' * (1 - g::float8 / :users::int)
FROM generate_series(1, :users::int) AS g
CROSS JOIN LATERAL (
    SELECT (ARRAY['Ana', 'Ben', 'Chloe', 'Dev', 'Elena', 'Farid', 'Grace', 'Hugo'])[1 + g % 8] AS first_name,
           (ARRAY['Abbott', 'Baker', 'Chen', 'Diaz', 'Evans', 'Fischer', 'Garcia'])[1 + g % 7] AS last_name
) AS person
ORDER BY g
