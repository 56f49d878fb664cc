-- purpose: logical subscriptions: their workers write and pass no pg_hba.conf of this server
-- columns: name text; database text; enabled bool; pid int (null: no worker at work)
-- privilege: superuser. The publisher's connection string is left out: it may hold a password.
-- source: PostgreSQL 17, pg_subscription, pg_stat_subscription
SELECT s.subname::text AS name,
       d.datname::text AS database,
       s.subenabled AS enabled,
       (SELECT pg_catalog.min(w.pid) FROM pg_catalog.pg_stat_subscription AS w WHERE w.subid = s.oid) AS pid
FROM pg_catalog.pg_subscription AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid
ORDER BY 2, 1;
