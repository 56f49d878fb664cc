-- purpose: what the server allows now
-- columns: connections
SELECT pg_catalog.current_setting('max_connections')::int AS connections
