-- purpose: the sessions of a role are ended; how many there are
-- params: role text
-- columns: sessions bigint
-- privilege: superuser, or pg_signal_backend
-- source: PostgreSQL 17, pg_terminate_backend
SELECT count(pg_catalog.pg_terminate_backend(a.pid)) AS sessions FROM pg_catalog.pg_stat_activity AS a WHERE a.usename = :'role';
