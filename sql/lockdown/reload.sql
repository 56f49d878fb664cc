-- purpose: the server reads its configuration files anew
-- columns: reloaded bool (the signal was sent)
-- privilege: superuser
-- source: PostgreSQL 17, "Server Signaling Functions"
SELECT pg_catalog.pg_reload_conf() AS reloaded;
