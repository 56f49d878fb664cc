-- purpose: the role that can do everything is gone
DROP ROLE IF EXISTS practice_admin;
