-- purpose: 93 % of what an int holds are used
SELECT setval('practice.ticket', 1997159792);
