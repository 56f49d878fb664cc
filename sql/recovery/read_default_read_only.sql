-- purpose: whether a new transaction of a session without settings of its own may write
-- columns: value text (on, off)
-- privilege: none
-- source: PostgreSQL 17, pg_settings: reset_val is what a new session gets
SELECT reset_val AS value FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only';
