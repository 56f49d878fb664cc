-- purpose: no SECURITY DEFINER function looks where others can put something
-- scope: database
-- unit: of 2
-- rank: 2
-- threshold: definer_path_warning = 1 | PostgreSQL 17, CREATE FUNCTION: pg_temp is searched first unless it is named last
-- threshold: definer_path_critical = 2 | judgement: who may create there runs their own code with the owner's rights
-- warning: definer_path_warning
-- critical: definer_path_critical
-- why: 1 temporary tables of the caller stand before its own, 2 another role can create objects in a schema of its search_path
-- next: ALTER FUNCTION … SET search_path to schemas that only trusted roles write to, pg_temp last
-- columns: object text; value float8; note text
-- source: PostgreSQL 17, CREATE FUNCTION: writing SECURITY DEFINER functions safely; functions that pin no search_path have a check of their own
WITH pinned AS (
  SELECT p.oid, p.proname, p.proowner, n.nspname, s.place, s.name
  FROM pg_catalog.pg_proc AS p
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  CROSS JOIN LATERAL unnest(p.proconfig) AS c (one)
  LEFT JOIN LATERAL (
    SELECT m.place, CASE WHEN m.part[1] LIKE '"%' THEN replace(substr(m.part[1], 2, length(m.part[1]) - 2), '""', '"') ELSE lower(m.part[1]) END AS name
    FROM pg_catalog.regexp_matches(substr(c.one, length('search_path=') + 1), '"(?:[^"]|"")*"|[^",[:space:]]+', 'g') WITH ORDINALITY AS m (part, place)
  ) AS s ON true
  WHERE p.prosecdef AND c.one LIKE 'search\_path=%' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
), writers AS (
  SELECT i.oid, format('%s by %s', CASE i.name WHEN '$user' THEN '"$user", which is the owner''s' ELSE format('%I', i.name) END,
                       string_agg(DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, ', ')) AS said
  FROM pinned AS i
  JOIN pg_catalog.pg_roles AS o ON o.oid = i.proowner
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = CASE i.name WHEN '$user' THEN o.rolname::text ELSE i.name END
  CROSS JOIN LATERAL (
    SELECT x.grantee FROM pg_catalog.aclexplode(n.nspacl) AS x WHERE x.privilege_type = 'CREATE'
    UNION SELECT n.nspowner
  ) AS e
  LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
  WHERE e.grantee <> i.proowner AND coalesce(NOT r.rolsuper AND r.rolname <> 'pg_database_owner' AND NOT pg_catalog.pg_has_role(r.oid, i.proowner, 'MEMBER'), true)
  GROUP BY i.oid, i.name
)
SELECT format('%I.%I(%s)', i.nspname, i.proname, pg_catalog.pg_get_function_identity_arguments(i.oid)) AS object,
       (CASE WHEN w.said IS NOT NULL THEN 2 WHEN i.last IN ('pg_temp', '') THEN 0 ELSE 1 END)::float8 AS value,
       CASE WHEN w.said IS NOT NULL THEN 'can be written to: ' || w.said WHEN i.last IN ('pg_temp', '') THEN '' ELSE 'pg_temp is not named last' END AS note
FROM (SELECT oid, nspname, proname, (array_agg(name ORDER BY place DESC))[1] AS last FROM pinned GROUP BY oid, nspname, proname) AS i
LEFT JOIN (SELECT oid, string_agg(said, '; ' ORDER BY said) AS said FROM writers GROUP BY oid) AS w ON w.oid = i.oid
ORDER BY 2 DESC, 1;
