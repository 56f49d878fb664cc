-- purpose: a bigint sequence
CREATE SEQUENCE practice.ticket AS bigint;
