-- purpose: until this transaction ends, no view and no foreign table of the application is read, whatever a table has become meanwhile
-- columns: set_config text; no row where the server does not know the setting (before August 2024)
-- privilege: none
-- source: PostgreSQL 17, restrict_nonsystem_relation_kind
SELECT pg_catalog.set_config(s.name, 'view, foreign-table', true)
FROM pg_catalog.pg_settings AS s
WHERE s.name = 'restrict_nonsystem_relation_kind';
