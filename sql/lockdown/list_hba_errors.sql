-- purpose: lines of pg_hba.conf, as it stands on disk, that the server would refuse
-- columns: file text (null before PostgreSQL 16: the file itself); line int; error text
-- privilege: superuser
-- source: PostgreSQL 17, pg_hba_file_rules
SELECT pg_catalog.to_jsonb(r) ->> 'file_name' AS file, r.line_number AS line, r.error
FROM pg_catalog.pg_hba_file_rules AS r
WHERE r.error IS NOT NULL
ORDER BY r.line_number;
