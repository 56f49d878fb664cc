-- purpose: make what random() and random(a, b) give in this session repeatable
-- params: seed between -1 and 1
SELECT setseed(:seed::float8)
