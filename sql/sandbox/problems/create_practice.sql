-- purpose: a schema for planted problems, apart from the application's
CREATE SCHEMA practice;
