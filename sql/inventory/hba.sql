-- purpose: the rules of pg_hba.conf and the files that it includes, and their order
-- scope: cluster
-- columns: item text; method text; options text (secrets not kept)
-- privilege: SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules(); pg_monitor has neither
-- source: PostgreSQL 17, pg_hba_file_rules
WITH rules AS (
  SELECT row_number() OVER () AS place,
         format('%s %s %s%s', coalesce(type, 'not understood'), coalesce(array_to_string(database, ','), '-'),
                coalesce(array_to_string(user_name, ','), '-'),
                coalesce(' ' || address, '') || coalesce(' ' || netmask, '')) AS item,
         coalesce(auth_method, 'error: ' || error) AS method,
         coalesce(pg_catalog.regexp_replace(array_to_string(options, ' '), '(passwd|secrets?)=\S+', '\1=hidden', 'g'), '') AS options
  FROM pg_catalog.pg_hba_file_rules
)
SELECT item, method, options FROM rules
UNION ALL
SELECT '(all, in their order)', count(*) || ' rules', 'md5 ' || pg_catalog.md5(string_agg(item, '; ' ORDER BY place)) FROM rules
ORDER BY 1;
