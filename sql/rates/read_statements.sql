-- purpose: what each statement has taken so far, for a difference between two readings
-- columns: key text; text text; calls int8; milliseconds float8
-- params: statement_texts, false where one of them is not in the encoding of this database: the extension refuses all of them then
-- needs: extension:pg_stat_statements
-- source: PostgreSQL 17, F.30; a statement is (userid, dbid, queryid, toplevel). Text that names a password is withheld
SELECT format('%s %s %s %s', s.userid, s.dbid, s.queryid, s.toplevel) AS key,
       CASE WHEN s.query IS NULL THEN '(no text: one of the statements is not in the encoding of this database)'
            WHEN s.query ~* 'password' THEN '(text withheld)'
            ELSE left(regexp_replace(s.query, '\s+', ' ', 'g'), 160) END AS text,
       s.calls, s.total_exec_time AS milliseconds
FROM :pg_stat_statements.pg_stat_statements(:'statement_texts'::boolean) AS s
ORDER BY s.total_exec_time DESC
LIMIT 5000;
