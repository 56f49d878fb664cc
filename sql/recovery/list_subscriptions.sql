-- purpose: subscriptions, which begin to apply again by themselves
-- columns: name text; value text
-- privilege: superuser for subscriptions of others
-- source: PostgreSQL 17, pg_subscription
SELECT s.subname || ' in ' || d.datname AS name,
       CASE WHEN s.subenabled THEN 'enabled' ELSE 'disabled' END AS value
FROM pg_catalog.pg_subscription AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid
ORDER BY 1;
