-- purpose: no autovacuum from the next reload on, so that dead rows stay for salvage
-- privilege: superuser
-- source: PostgreSQL 17, ALTER SYSTEM; wraparound is still prevented
ALTER SYSTEM SET autovacuum = off;
