-- purpose: the catalogs that hold what people have defined (relations, functions, types, roles, grants, policies, settings), each with how its rows are
--   printed as they are stored. Printed is what the row holds, never what a function looks up for it in the current catalogs: numbers instead
--   of names for functions and roles. Left out is what is updated in place, so that it belongs to no snapshot (statistics of VACUUM and CREATE INDEX,
--   flags that VACUUM clears, a DROP DATABASE under way, collation versions of databases), what ANALYZE computes, the state of a subscription's tables,
--   the value of a column that was added later (the rows show it), and secrets: of a role's password its kind, of a user mapping its options' names
-- params: $1 bool, with the catalogs of the whole server
-- columns: oid bigint; name text; is_shared bool; may_read bool, this role may read all that is printed; printed text[], expressions over a row r; keys
--   text[], the columns with the OID of the object to which a row belongs, the first that is not 0; title text, the column with the name of the
--   row's own object, NULL where there is none; title_schema text, the column with its schema's OID
-- privilege: none
-- source: PostgreSQL 15 to 18, "System Catalogs"; heap_inplace_update in index.c, vacuum.c, dbcommands.c, event_trigger.c
WITH left_out (relation, attribute) AS (
    VALUES ('pg_class', 'relpages'), ('pg_class', 'reltuples'), ('pg_class', 'relallvisible'), ('pg_class', 'relallfrozen'),
           ('pg_class', 'relfrozenxid'), ('pg_class', 'relminmxid'), ('pg_class', 'relhasindex'), ('pg_class', 'relhasrules'),
           ('pg_class', 'relhastriggers'), ('pg_class', 'relhassubclass'),
           ('pg_index', 'indcheckxmin'), ('pg_attribute', 'attmissingval'), ('pg_attribute', 'attcacheoff'),
           ('pg_database', 'datfrozenxid'), ('pg_database', 'datminmxid'), ('pg_database', 'datcollversion'),
           ('pg_database', 'datconnlimit'), ('pg_database', 'dathasloginevt'), ('pg_subscription', 'subconninfo')
),
keys (place, attribute) AS (
    VALUES (-3, 'member'), (-2, 'setrole'), (-1, 'setdatabase'), (0, 'defaclrole'), (1, 'attrelid'), (2, 'adrelid'), (3, 'conrelid'), (4, 'indrelid'), (5, 'inhrelid'), (6, 'polrelid'), (7, 'tgrelid'), (8, 'ev_class'),
           (9, 'seqrelid'), (10, 'partrelid'), (11, 'ftrelid'), (12, 'stxrelid'), (13, 'prrelid'), (14, 'typrelid'), (15, 'contypid'),
           (16, 'enumtypid'), (17, 'rngtypid'), (18, 'aggfnoid'), (19, 'objid'), (20, 'objoid'), (21, 'oid')
),
columns AS (
    SELECT c.oid, c.relname, a.attname, a.attnum, a.atttypid,
           EXISTS (SELECT FROM left_out AS l WHERE l.relation = c.relname AND l.attribute = a.attname) AS is_left_out
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind = 'r' AND c.oid < 16384 AND (NOT c.relisshared OR $1)
      AND c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject', 'pg_subscription_rel')
)
SELECT c.oid::bigint AS oid, c.relname::text AS name, c.relisshared AS is_shared,
       pg_catalog.bool_and(s.is_left_out OR pg_catalog.has_column_privilege(s.oid, s.attnum, 'SELECT')) AS may_read,
       pg_catalog.array_agg(
           CASE WHEN s.relname = 'pg_authid' AND s.attname = 'rolpassword'
                THEN 'CASE WHEN r.rolpassword LIKE ''SCRAM-SHA-256$%'' THEN ''scram'' WHEN r.rolpassword LIKE ''md5%'' THEN ''md5'' '
                     'WHEN r.rolpassword IS NOT NULL THEN ''other'' END'
                WHEN s.relname = 'pg_user_mapping' AND s.attname = 'umoptions'
                THEN 'ARRAY(SELECT pg_catalog.split_part(o.text, ''='', 1) FROM pg_catalog.unnest(r.umoptions) AS o (text))'
                WHEN s.atttypid = 'pg_catalog.aclitem[]'::pg_catalog.regtype
                THEN pg_catalog.format('pg_catalog.cardinality(r.%1$I), ARRAY(SELECT pg_catalog.concat_ws('','', e.grantor, e.grantee, e.privilege_type, '
                     'e.is_grantable) FROM pg_catalog.aclexplode(r.%1$I) AS e)', s.attname)
                WHEN s.atttypid = ANY (ARRAY['regproc', 'regprocedure', 'regoper', 'regoperator', 'regclass', 'regtype', 'regrole', 'regnamespace',
                                             'regconfig', 'regdictionary', 'regcollation']::pg_catalog.regtype[])
                THEN pg_catalog.format('r.%I::pg_catalog.oid', s.attname)
                ELSE pg_catalog.format('r.%I', s.attname) END
           ORDER BY s.attnum) FILTER (WHERE NOT s.is_left_out) AS printed,
       ARRAY(SELECT pg_catalog.format('r.%I', k.attribute) FROM keys AS k JOIN columns AS o ON o.oid = c.oid AND o.attname = k.attribute
             WHERE c.relname NOT IN ('pg_largeobject_metadata', 'pg_shdepend') ORDER BY k.place) AS keys,
       (SELECT pg_catalog.format('r.%I', o.attname) FROM columns AS o
        WHERE o.oid = c.oid AND o.atttypid = 'pg_catalog.name'::pg_catalog.regtype
          AND EXISTS (SELECT FROM columns AS own WHERE own.oid = c.oid AND own.attname = 'oid')
        ORDER BY o.attnum LIMIT 1) AS title,
       (SELECT pg_catalog.format('r.%I', o.attname) FROM columns AS o
        WHERE o.oid = c.oid AND o.attname LIKE '%namespace' AND o.atttypid = 'pg_catalog.oid'::pg_catalog.regtype
        ORDER BY o.attnum LIMIT 1) AS title_schema
FROM columns AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.oid
GROUP BY c.oid, c.relname, c.relisshared
ORDER BY c.relname;
