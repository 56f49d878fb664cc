-- purpose: a table without row-level security
CREATE TABLE practice.open_table (id bigint PRIMARY KEY, secret text);
