-- purpose: whether the server still recovers
-- columns: recovering
SELECT pg_catalog.pg_is_in_recovery() AS recovering
