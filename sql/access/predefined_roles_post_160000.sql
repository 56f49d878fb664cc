-- purpose: few hold predefined roles, and nobody those that reach the server's files and programs
-- scope: cluster
-- unit: of 3 (1 watches, 2 reaches all data or all sessions, 3 reaches the server's files and programs, or is everybody)
-- rank: 2
-- threshold: predefined_role_warning = 2 | judgement: watching is what pg_monitor is for
-- threshold: predefined_role_critical = 3 | PostgreSQL 17, 21.5: such roles can gain superuser
-- warning: predefined_role_warning
-- critical: predefined_role_critical
-- why: a predefined role passes by all grants on objects
-- next: revoke it, and grant what the task needs
-- columns: object text; value float8; note text; change text; undo text
-- source: PostgreSQL 17, 21.5 predefined roles, GRANT: a membership without inherit and set gives nothing; memberships through other roles count too; pg_database_owner has its members by itself
SELECT format('%I in %I', m.rolname, p.rolname) AS object,
       (CASE WHEN p.rolname IN ('pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables') THEN 1
             WHEN m.rolname IN ('anon', 'authenticated') OR p.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program') THEN 3
             ELSE 2 END)::float8 AS value,
       CASE WHEN d.change IS NOT NULL THEN 'a member itself' ELSE 'through another role' END AS note, d.change, d.undo
FROM pg_catalog.pg_roles AS m
JOIN pg_catalog.pg_roles AS p ON p.rolname ~ '^pg_' AND p.rolname <> 'pg_database_owner' AND pg_catalog.pg_has_role(m.oid, p.oid, 'USAGE,SET')
LEFT JOIN LATERAL (
  SELECT string_agg(format('REVOKE %I FROM %I GRANTED BY %I;', p.rolname, m.rolname, g.rolname), E'\n' ORDER BY g.rolname) AS change,
         string_agg(format('GRANT %I TO %I WITH ADMIN %s, INHERIT %s, SET %s GRANTED BY %I;', p.rolname, m.rolname, a.admin_option::text, a.inherit_option::text,
                           a.set_option::text, g.rolname), E'\n' ORDER BY g.rolname) AS undo
  FROM pg_catalog.pg_auth_members AS a JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantor
  WHERE a.member = m.oid AND a.roleid = p.oid
) AS d ON true
WHERE m.rolname !~ '^pg_' AND NOT m.rolsuper
ORDER BY 2 DESC, 1;
