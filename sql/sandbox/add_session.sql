-- purpose: a user signs in
-- params: user_number
-- columns: id of the session; no row when the user is gone
INSERT INTO public.sessions (user_id, user_agent, expires_at)
SELECT id, 'DealerScope iOS', now() + interval '14 days'
FROM public.users
WHERE id = :user_number::bigint
RETURNING id
