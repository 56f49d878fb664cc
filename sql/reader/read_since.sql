-- purpose: since when at the latest the role that reads tables is as it is now: every base backup that began later has it
-- params: $1 the role's name
-- columns: since timestamptz, NULL when the server does not track commit timestamps or has forgotten this one
-- privilege: SELECT on pg_authid
-- source: PostgreSQL 17, pg_xact_commit_timestamp
SELECT CASE WHEN pg_catalog.current_setting('track_commit_timestamp') = 'on'
            THEN pg_catalog.pg_xact_commit_timestamp(a.xmin) END AS since
FROM pg_catalog.pg_authid AS a
WHERE a.rolname = $1;
