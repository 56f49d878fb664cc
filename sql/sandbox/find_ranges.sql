-- purpose: the numbers that traffic may pick from
-- columns: the highest vehicle and user
SELECT (SELECT max(id) FROM public.vehicles) AS vehicles, (SELECT max(id) FROM public.users) AS users
