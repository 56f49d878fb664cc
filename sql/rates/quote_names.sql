-- purpose: names as SQL writes them
-- params: $1 text[]
-- columns: name text; quoted text
-- source: PostgreSQL 17, format('%I')
SELECT one AS name, format('%I', one) AS quoted FROM unnest($1::text[]) AS u (one);
