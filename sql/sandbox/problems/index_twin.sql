-- purpose: an index that says what the key says
CREATE INDEX twin_of_key ON practice.roomy (id);
