-- purpose: a record of WAL, so that there is a segment to close
SELECT pg_catalog.pg_logical_emit_message(false, 'runbook', 'a segment for the archiver') AS position
