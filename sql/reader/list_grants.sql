-- purpose: what makes the reader of tables in this database, statement by statement; run by a superuser, once in each database and in template1
-- params: $1 the reader's name
-- columns: position int; statement text
-- privilege: none
-- source: PostgreSQL 17, CREATE ROLE, GRANT, "Predefined Roles"; SET ON PARAMETER is known since 15, the setting event_triggers since 17
WITH facts AS (
    SELECT pg_catalog.quote_ident($1) AS reader,
           pg_catalog.quote_ident(pg_catalog.current_database()) AS database,
           EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = $1) AS exists
)
SELECT s.position, s.statement
FROM facts AS f
CROSS JOIN LATERAL (
    SELECT 1 AS position,
           CASE WHEN f.exists THEN 'ALTER' ELSE 'CREATE' END || ' ROLE ' || f.reader
           || ' LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS' AS statement
    UNION ALL
    SELECT 2, 'GRANT pg_read_all_data, pg_monitor TO ' || f.reader
    UNION ALL
    SELECT 3, 'GRANT CONNECT ON DATABASE ' || f.database || ' TO ' || f.reader
    UNION ALL
    SELECT 4, 'GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal(), pg_catalog.pg_hba_file_rules(), '
              || 'pg_catalog.pg_show_all_file_settings() TO ' || f.reader
    UNION ALL
    SELECT 5, 'GRANT SET ON PARAMETER event_triggers TO ' || f.reader
    FROM pg_catalog.pg_settings AS t
    WHERE t.name = 'event_triggers'
    UNION ALL
    SELECT 6, 'GRANT EXECUTE ON FUNCTION ' || p.oid::pg_catalog.regprocedure::text || ' TO ' || f.reader
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
     AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
    WHERE e.extname IN ('amcheck', 'pgstattuple')
) AS s
ORDER BY s.position;
