-- purpose: its rows can be told apart: the empty room is its only problem
ALTER TABLE practice.swollen ADD PRIMARY KEY (id);
