-- purpose: a table that will be three quarters empty
CREATE TABLE practice.swollen AS SELECT g AS id, g % 7 AS kind, repeat('x', 200) AS filler FROM generate_series(1, 60000) AS g;
