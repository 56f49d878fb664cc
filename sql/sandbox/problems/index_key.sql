-- purpose: a key, which is not unused even when nobody scans it
ALTER TABLE practice.roomy ADD PRIMARY KEY (id);
