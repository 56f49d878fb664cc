-- purpose: privileges on schemas, tables, sequences, functions, types, languages, foreign servers and large objects, for each that holds
--   them and is not the owner; of what PostgreSQL and extensions brought along only what was granted later; a star means that they may be handed on
-- scope: database
-- columns: item text; privileges text
-- source: PostgreSQL 17, aclexplode, pg_init_privs
WITH brought AS (
  SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
), objects AS (
  SELECT 'pg_catalog.pg_class'::regclass::oid AS classid, c.oid AS objid, n.nspname, c.relowner AS owner, c.relacl AS acl,
         CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char" AS kind,
         format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, n.nspname, c.relname) AS name
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'pg_catalog.pg_proc'::regclass::oid, p.oid, n.nspname, p.proowner, p.proacl, 'f',
         format('function %I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
  FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  WHERE p.proacl IS NOT NULL OR n.nspname NOT IN ('pg_catalog', 'information_schema')
  UNION ALL
  SELECT 'pg_catalog.pg_namespace'::regclass::oid, n.oid, n.nspname, n.nspowner, n.nspacl, 'n', format('schema %I', n.nspname)
  FROM pg_catalog.pg_namespace AS n WHERE n.nspname !~ '^pg_(toast|temp_)'
  UNION ALL
  SELECT 'pg_catalog.pg_type'::regclass::oid, t.oid, n.nspname, t.typowner, t.typacl, 'T', format('type %I.%I', n.nspname, t.typname)
  FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace WHERE t.typacl IS NOT NULL
  UNION ALL
  SELECT 'pg_catalog.pg_language'::regclass::oid, l.oid, 'pg_catalog', l.lanowner, l.lanacl, 'l', format('language %I', l.lanname)
  FROM pg_catalog.pg_language AS l WHERE l.lanacl IS NOT NULL
  UNION ALL
  SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass::oid, f.oid, 'pg_catalog', f.fdwowner, f.fdwacl, 'F',
         format('foreign data wrapper %I', f.fdwname)
  FROM pg_catalog.pg_foreign_data_wrapper AS f WHERE f.fdwacl IS NOT NULL
  UNION ALL
  SELECT 'pg_catalog.pg_foreign_server'::regclass::oid, s.oid, 'pg_catalog', s.srvowner, s.srvacl, 'S', format('foreign server %I', s.srvname)
  FROM pg_catalog.pg_foreign_server AS s WHERE s.srvacl IS NOT NULL
  UNION ALL
  SELECT 'pg_catalog.pg_largeobject'::regclass::oid, b.oid, 'pg_catalog', b.lomowner, b.lomacl, 'L', format('large object %s', b.oid)
  FROM pg_catalog.pg_largeobject_metadata AS b WHERE b.lomacl IS NOT NULL
), initial AS (
  SELECT i.classoid, i.objoid, e.grantee, e.privilege_type, e.is_grantable
  FROM pg_catalog.pg_init_privs AS i CROSS JOIN LATERAL pg_catalog.aclexplode(i.initprivs) AS e WHERE i.objsubid = 0
  UNION ALL
  -- What had no privileges of its own at first had those by default: a first grant writes them down, and gives nothing by that.
  SELECT o.classid, o.objid, e.grantee, e.privilege_type, e.is_grantable
  FROM objects AS o CROSS JOIN LATERAL pg_catalog.aclexplode(pg_catalog.acldefault(o.kind, o.owner)) AS e
  WHERE o.acl IS NOT NULL AND (o.nspname IN ('pg_catalog', 'information_schema') OR EXISTS (SELECT FROM brought AS b WHERE b.classid = o.classid AND b.objid = o.objid))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs AS i WHERE i.classoid = o.classid AND i.objoid = o.objid AND i.objsubid = 0)
), held AS (
  SELECT o.name, e.grantee, e.privilege_type, e.is_grantable
  FROM objects AS o
  CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(o.acl, pg_catalog.acldefault(o.kind, o.owner))) AS e
  LEFT JOIN brought AS b ON b.classid = o.classid AND b.objid = o.objid
  LEFT JOIN initial AS i ON i.classoid = o.classid AND i.objoid = o.objid AND i.grantee = e.grantee
        AND i.privilege_type = e.privilege_type AND i.is_grantable = e.is_grantable
  WHERE e.grantee <> o.owner AND i.objoid IS NULL
    AND (o.acl IS NOT NULL OR (b.objid IS NULL AND o.nspname NOT IN ('pg_catalog', 'information_schema')))
)
SELECT format('%s to %s', h.name, CASE h.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', coalesce(r.rolname::text, h.grantee::text)) END) AS item,
       string_agg(DISTINCT h.privilege_type || CASE WHEN h.is_grantable THEN '*' ELSE '' END, ', ') AS privileges
FROM held AS h LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = h.grantee
GROUP BY 1 ORDER BY 1;
