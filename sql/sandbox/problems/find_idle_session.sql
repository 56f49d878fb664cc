-- purpose: the planted session that sits idle in its transaction
SELECT pid FROM pg_catalog.pg_stat_activity
WHERE usename = :'role' AND datname = :'database' AND state = 'idle in transaction'
ORDER BY xact_start LIMIT 1
