-- purpose: the planted problems are gone
DROP SCHEMA IF EXISTS practice CASCADE;
