-- purpose: a role that can do everything
CREATE ROLE practice_admin SUPERUSER LOGIN VALID UNTIL '2099-01-01';
