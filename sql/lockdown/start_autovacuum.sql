-- purpose: autovacuum as ALTER SYSTEM had it before: on
-- privilege: superuser
-- source: PostgreSQL 17, ALTER SYSTEM
ALTER SYSTEM SET autovacuum = on;
