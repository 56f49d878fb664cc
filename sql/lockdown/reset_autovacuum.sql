-- purpose: autovacuum as the configuration files say, without a word of ALTER SYSTEM's
-- privilege: superuser
-- source: PostgreSQL 17, ALTER SYSTEM
ALTER SYSTEM RESET autovacuum;
