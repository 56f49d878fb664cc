-- purpose: the rules of pg_hba.conf and the files that it includes, and their order
-- scope: cluster
-- columns: item text; method text; options text (secrets not kept)
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, pg_hba_file_rules
WITH rules AS (
  SELECT row_number() OVER () AS place,
         format('%s %s %s%s', coalesce(type, 'not understood'), coalesce((SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(database) WITH ORDINALITY AS u (one, n)), '-'),
                coalesce((SELECT string_agg(CASE WHEN one ~ '[,"[:space:]]' THEN '"' || replace(one, '"', '""') || '"' ELSE one END, ',' ORDER BY n) FROM unnest(user_name) WITH ORDINALITY AS u (one, n)), '-'),
                coalesce(' ' || address, '') || coalesce(' ' || netmask, '')) AS item,
         coalesce(auth_method, 'error: ' || error) AS method,
         coalesce((SELECT string_agg(CASE WHEN one ~* '^[^=]*(passw|secret|token|key)' THEN split_part(one, '=', 1) || '=hidden' ELSE one END, ' ' ORDER BY n)
                 FROM unnest(options) WITH ORDINALITY AS u (one, n)), '') AS options
  FROM pg_catalog.pg_hba_file_rules
)
SELECT item, method, options FROM rules
UNION ALL
SELECT '(all, in their order)', count(*) || ' rules', 'md5 ' || pg_catalog.md5(string_agg(item, '; ' ORDER BY place)) FROM rules
ORDER BY 1;
