-- purpose: the server in one row
-- columns: version; data_bytes of all databases; timeline; checksums on or off
SELECT pg_catalog.current_setting('server_version') AS version,
       (SELECT sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database)::bigint AS data_bytes,
       pg_catalog.pg_current_wal_lsn()::text AS lsn,
       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()) AS timeline,
       pg_catalog.current_setting('data_checksums') AS checksums,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier
