-- purpose: every session belongs to a user
-- suite: dealerscope
-- expect: sessions_without_user = 0
-- expect: users > 0
-- unit: rows
-- severity: critical
-- why: the user authentication system needs both; the runbook's phase 3 asks to verify it
-- next: list the sessions; nobody could log in on a database without users
-- columns: users bigint; sessions bigint; sessions_without_user bigint (rows)
SELECT (SELECT count(*) FROM public.users) AS users,
       (SELECT count(*) FROM public.sessions) AS sessions,
       (SELECT count(*) FROM public.sessions AS s
        WHERE NOT EXISTS (SELECT FROM public.users AS u WHERE u.id = s.user_id)) AS sessions_without_user;
