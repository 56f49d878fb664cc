-- purpose: a name with a line break in it: a script that makes the object again may not say what it seems to say
-- columns: name text
-- privilege: none
-- source: PostgreSQL 17, pg_dump writes names into comments of its script
SELECT pg_catalog.quote_ident(o.name) AS name
FROM (
    SELECT c.relname FROM pg_catalog.pg_class AS c
    UNION ALL SELECT c.conname FROM pg_catalog.pg_constraint AS c
    UNION ALL SELECT t.tgname FROM pg_catalog.pg_trigger AS t
    UNION ALL SELECT p.polname FROM pg_catalog.pg_policy AS p
    UNION ALL SELECT r.rulename FROM pg_catalog.pg_rewrite AS r
    UNION ALL SELECT s.stxname FROM pg_catalog.pg_statistic_ext AS s
    UNION ALL SELECT a.attname FROM pg_catalog.pg_attribute AS a
    UNION ALL SELECT n.nspname FROM pg_catalog.pg_namespace AS n
    UNION ALL SELECT r.rolname FROM pg_catalog.pg_roles AS r
) AS o (name)
WHERE o.name::text ~ E'[\\n\\r]'
ORDER BY 1
LIMIT 1;
