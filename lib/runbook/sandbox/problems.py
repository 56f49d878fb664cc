"""Problems for the daily look and the access audit to find: a schema of their own, a role, a session, an archiver that fails.

Nothing of the application's data is touched, and no WAL is lost.
"""

from __future__ import annotations

from runbook.errors import PlatformError
from runbook.postgres.connect import SqlError
from runbook.sandbox import idle_process
from runbook.sandbox.archiving import break_archiving, mend_archiving
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

SCHEMA = "practice"
#: What is found, by check and object, beside the session; everything else in the schema is healthy.
PLANTED = {
    "sequence_exhaustion": "practice.ticket",
    "invalid_indexes": "practice.half_built",
    "bloated_tables": "practice.swollen",
    "unused_indexes": "practice.never_used",
    "duplicate_indexes": "practice.twin_of_key",
    "failing_archiver": "archiver",
}
#: The same for the access audit.
PLANTED_ACCESS = {
    "superusers": "practice_admin",
    "row_security_off": "practice.open_table",
    "definer_search_path": "practice.look_up(wanted bigint)",
}
_REMOVE = ("remove_problems", "remove_strong_role")
_FILES = (
    *_REMOVE,
    "create_practice",
    "create_swollen",
    "delete_swollen",
    "flush_counters",
    "vacuum_swollen",
    "key_swollen",
    "create_roomy",
    "index_unused",
    "index_key",
    "index_twin",
    "create_sequence",
    "create_narrow",
    "advance_sequence",
    "create_strong_role",
    "create_open_table",
    "grant_open_table",
    "create_definer",
)


def plant(sandbox: Sandbox) -> dict[str, str]:
    """The problems are there, made anew; which ones the daily look finds, by its checks. Safe twice.

    Raises:
        PlatformError: the index that must fail was built, or the archiver that must fail does not.
    """
    with sandbox.connect() as connection:
        for file in _FILES:
            run_file(connection, f"problems/{file}")
        try:
            run_file(connection, "problems/index_half_built")
        except SqlError as expected:
            if expected.sqlstate != "23505":  # unique_violation
                raise
        else:
            raise PlatformError("The unique index on values that repeat was built.", next="runbook sandbox plant")
    session = idle_process.start(sandbox)
    break_archiving(sandbox)
    return {**PLANTED, "idle_transactions": session}


def uproot(sandbox: Sandbox) -> None:
    """The problems are gone, and all WAL written meanwhile is archived. Safe twice.

    Raises:
        PlatformError: the archiver still fails.
    """
    idle_process.stop(sandbox)
    with sandbox.connect() as connection:
        for file in _REMOVE:
            run_file(connection, f"problems/{file}")
    mend_archiving(sandbox)
