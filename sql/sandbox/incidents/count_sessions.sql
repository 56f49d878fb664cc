-- purpose: all sign-ins
-- columns: sessions
SELECT count(*) AS sessions FROM public.sessions
