-- purpose: one setting's value
-- params: name: the setting
-- columns: setting text (null: there is no such setting)
-- privilege: CONNECT; some settings want pg_read_all_settings
-- source: PostgreSQL 17, "System Administration Functions"
SELECT pg_catalog.current_setting(:'name', true) AS setting;
