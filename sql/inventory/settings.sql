-- purpose: settings that decide who gets in, what they may do, and what is written down about it
-- scope: cluster
-- needs: pg_read_all_settings
-- columns: item text; value text
-- source: PostgreSQL 17, chapter 19
SELECT name AS item, setting || coalesce(' ' || unit, '') AS value
FROM pg_catalog.pg_settings
WHERE name IN ('listen_addresses', 'port', 'ssl', 'ssl_min_protocol_version', 'ssl_ca_file', 'ssl_crl_file', 'password_encryption',
  'scram_iterations', 'authentication_timeout', 'krb_caseins_users', 'db_user_namespace', 'row_security', 'session_preload_libraries',
  'shared_preload_libraries', 'local_preload_libraries', 'dynamic_library_path', 'allow_system_table_mods', 'allow_alter_system',
  'createrole_self_grant', 'lo_compat_privileges', 'unix_socket_permissions', 'unix_socket_group', 'superuser_reserved_connections',
  'reserved_connections', 'max_connections', 'log_connections', 'log_disconnections', 'log_statement', 'log_line_prefix',
  'log_min_messages', 'log_min_error_statement', 'log_min_duration_statement', 'log_destination', 'logging_collector', 'log_file_mode',
  'log_hostname', 'log_parameter_max_length', 'log_replication_commands', 'search_path', 'default_transaction_read_only',
  'restrict_nonsystem_relation_kind', 'fsync', 'full_page_writes', 'data_directory_mode', 'wal_level', 'archive_mode')
   OR name LIKE 'pgaudit.%'
ORDER BY 1;
