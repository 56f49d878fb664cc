-- purpose: find the sessions of a user
CREATE INDEX sessions_user_id_idx ON public.sessions (user_id)
