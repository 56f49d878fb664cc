-- purpose: what production's configuration files say of settings that a recovery holds; postgresql.auto.conf is left out: it holds them
-- params: names text[]
-- columns: name text; value text (of several, the last one counts)
-- privilege: superuser, or EXECUTE on pg_show_all_file_settings
-- source: PostgreSQL 17, pg_file_settings
SELECT f.name, f.setting AS value
FROM pg_catalog.pg_file_settings AS f
WHERE f.name = ANY (:names::text[]) AND f.sourcefile NOT LIKE '%/postgresql.auto.conf'
ORDER BY f.seqno;
