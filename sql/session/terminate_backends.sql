-- purpose: end the server backends that a run left behind
-- params: run: the run id, which its connections carry as application_name (63 bytes at most)
-- columns: pid, terminated
-- privilege: the same role, or pg_signal_backend
-- source: https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL
select pid, pg_catalog.pg_terminate_backend(pid) as terminated
from pg_catalog.pg_stat_activity
where application_name = :'run'
  and pid <> pg_catalog.pg_backend_pid();
