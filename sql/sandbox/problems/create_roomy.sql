-- purpose: the healthy twin: its room is kept on purpose
CREATE TABLE practice.roomy WITH (fillfactor = 70) AS SELECT g AS id, repeat('x', 200) AS filler FROM generate_series(1, 60000) AS g;
