-- purpose: how this session came in
-- columns: role text; address text (null: a local socket); ssl bool
-- privilege: none
-- source: PostgreSQL 17, "System Information Functions", pg_stat_ssl
SELECT session_user::text AS role,
       pg_catalog.host(pg_catalog.inet_client_addr()) AS address,
       COALESCE((SELECT s.ssl FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid()), false) AS ssl;
