-- purpose: an index that nobody uses
CREATE INDEX never_used ON practice.roomy (id, filler);
