-- purpose: everybody is signed out, in the wrong database
TRUNCATE public.sessions
