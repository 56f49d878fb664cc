-- purpose: the living server: where its files are, how it archives, and how we came in
-- columns: data_directory text; config_file text; hba_file text; ident_file text; version text; in_recovery bool;
--   system_identifier text; role text; is_superuser bool; address text (null: a local socket); ssl bool; archive_mode text;
--   archive_command text; archive_library text; autovacuum text; segment_size bigint (bytes); preload_libraries text;
--   started_at timestamptz; loaded_at timestamptz
-- privilege: superuser, or pg_read_all_settings and pg_monitor
-- source: PostgreSQL 17, "System Information Functions"
SELECT pg_catalog.current_setting('data_directory') AS data_directory,
       pg_catalog.current_setting('config_file') AS config_file,
       pg_catalog.current_setting('hba_file') AS hba_file,
       pg_catalog.current_setting('ident_file') AS ident_file,
       pg_catalog.current_setting('server_version') AS version,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
       session_user::text AS role,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user) AS is_superuser,
       pg_catalog.host(pg_catalog.inet_client_addr()) AS address,
       COALESCE((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()), false) AS ssl,
       pg_catalog.current_setting('archive_mode') AS archive_mode,
       pg_catalog.current_setting('archive_command') AS archive_command,
       COALESCE(pg_catalog.current_setting('archive_library', true), '') AS archive_library,
       pg_catalog.current_setting('autovacuum') AS autovacuum,
       (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size') AS segment_size,
       pg_catalog.current_setting('shared_preload_libraries') AS preload_libraries,
       pg_catalog.pg_postmaster_start_time() AS started_at,
       pg_catalog.pg_conf_load_time() AS loaded_at;
