-- purpose: what makes the role that reads tables, statement by statement, and which of it holds in this database; a superuser runs those that do
--   not hold, in each database and in template1, whose copies new databases are
-- params: $1 the role's name
-- columns: position int; statement text; holds bool; is_shared bool, of the whole server and not of this database
-- privilege: none
-- source: PostgreSQL 17, CREATE ROLE, GRANT, "Predefined Roles"; SET ON PARAMETER is known since 15, the setting event_triggers since 17,
--   pg_stat_statements.track where the library is loaded: by it the reader's statements displace none of the application's
WITH facts AS (
    SELECT pg_catalog.quote_ident($1) AS reader,
           pg_catalog.quote_ident(pg_catalog.current_database()) AS database,
           r.oid AS role,
           coalesce(r.rolcanlogin AND r.rolbypassrls AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication), false) AS is_right
    FROM (SELECT) AS one
    LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = $1
)
SELECT s.position, s.statement, coalesce(s.holds, false) AS holds, s.position IN (1, 2, 5) AS is_shared
FROM facts AS f
CROSS JOIN LATERAL (
    SELECT 1 AS position,
           CASE WHEN f.role IS NOT NULL THEN 'ALTER' ELSE 'CREATE' END || ' ROLE ' || f.reader
           || ' LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS' AS statement,
           f.is_right AS holds
    UNION ALL
    SELECT 2, 'GRANT pg_read_all_data, pg_monitor TO ' || f.reader,
           pg_catalog.pg_has_role(f.role, 'pg_read_all_data', 'USAGE') AND pg_catalog.pg_has_role(f.role, 'pg_monitor', 'USAGE')
    UNION ALL
    SELECT 3, 'GRANT CONNECT ON DATABASE ' || f.database || ' TO ' || f.reader,
           pg_catalog.has_database_privilege(f.role, pg_catalog.current_database(), 'CONNECT')
    UNION ALL
    SELECT 4, 'GRANT EXECUTE ON FUNCTION ' || p.oid::pg_catalog.regprocedure::text || ' TO ' || f.reader,
           pg_catalog.has_function_privilege(f.role, p.oid, 'EXECUTE')
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
      AND p.proname IN ('pg_switch_wal', 'pg_hba_file_rules', 'pg_show_all_file_settings')
    UNION ALL
    SELECT 5, 'GRANT SET ON PARAMETER ' || t.name || ' TO ' || f.reader,
           pg_catalog.has_parameter_privilege(f.role, t.name, 'SET')
    FROM pg_catalog.pg_settings AS t
    WHERE t.name IN ('event_triggers', 'pg_stat_statements.track')
    UNION ALL
    SELECT 6, 'GRANT EXECUTE ON FUNCTION ' || p.oid::pg_catalog.regprocedure::text || ' TO ' || f.reader,
           pg_catalog.has_function_privilege(f.role, p.oid, 'EXECUTE')
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_depend AS d
      ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
     AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
    WHERE e.extname IN ('amcheck', 'pgstattuple')
) AS s
ORDER BY s.position, s.statement;
