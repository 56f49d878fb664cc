-- purpose: what ALTER SYSTEM has set autovacuum to, if anything
-- columns: setting text
-- privilege: superuser
-- source: PostgreSQL 17, pg_file_settings
SELECT f.setting
FROM pg_catalog.pg_file_settings AS f
WHERE f.name = 'autovacuum' AND f.sourcefile LIKE '%postgresql.auto.conf'
ORDER BY f.seqno DESC
LIMIT 1;
