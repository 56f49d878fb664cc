-- purpose: for this transaction no statement is ended for its length, and row security refuses instead of hiding rows
-- columns: set_config text
-- privilege: none
-- source: PostgreSQL 17, statement_timeout, transaction_timeout (17 and later), row_security
SELECT pg_catalog.set_config(s.name, CASE s.name WHEN 'row_security' THEN 'off' ELSE '0' END, true)
FROM pg_catalog.pg_settings AS s
WHERE s.name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'row_security');
