-- purpose: the server reads its settings anew
SELECT pg_catalog.pg_reload_conf() AS reloaded
