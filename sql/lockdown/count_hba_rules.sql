-- purpose: how many rules the server finds in pg_hba.conf on disk, and how many of them refuse everybody
-- columns: rules int; refusals int
-- privilege: superuser
-- source: PostgreSQL 17, pg_hba_file_rules
SELECT count(*)::int AS rules,
       count(*) FILTER (WHERE r.auth_method = 'reject' AND r.user_name = ARRAY['all'])::int AS refusals
FROM pg_catalog.pg_hba_file_rules AS r;
