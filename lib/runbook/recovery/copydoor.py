"""How the role that writes rows back comes into the closed production; and its end, whoever finds that there is one left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runbook.params.schema import Params
from runbook.postgres.connect import Connection
from runbook.recovery.closing import Recall
from runbook.recovery.lockdown import LockDown
from runbook.recovery.writers import WRITER, Writers


@dataclass(frozen=True)
class LockedDoor:
    """A line of its own in the closed pg_hba.conf, for one role, one database and one address; noted before, and taken out again."""

    lockdown: LockDown
    undo_first: Callable[[str, str], object]
    undone: Callable[[str], object]

    def admit(self, database: str, role: str) -> None:
        """The role may log in to the database, from here."""
        self.lockdown.let_in(role, [database])

    def expel(self, role: str) -> None:
        """It may not any more. Safe twice."""
        self.lockdown.shut_out(role)

    def begin(self, undo: str) -> None:
        """Before the role is made: noted, with how it is undone."""
        self.undo_first(WRITER, undo)

    def end(self) -> None:
        """It is gone."""
        self.undone(WRITER)

    def enter(self, database: str, role: str, password: str, settings: dict[str, str]) -> Connection:
        """Return a session of the role that may write."""
        return self.lockdown.server.connect_as(database, role, password, settings)


def writers_of(
    lockdown: LockDown, undo_first: Callable[[str, str], object], undone: Callable[[str], object]
) -> Writers:
    """Return what makes and drops the role of the lock-down's run."""

    def operator(database: str | None) -> Connection:
        return lockdown.server.connect(database, read_only=False, statement_timeout=0, lock_timeout=30)

    role = lockdown.params.recovery.application_role
    return Writers(lockdown.run_id, operator, LockedDoor(lockdown, undo_first, undone), role)


def drop_left(params: Params, run_id: str, recall: Recall, undone: Callable[[str], object]) -> None:
    """No role of the run's is left on production; for whoever ends a run.

    Raises:
        PlatformError: production cannot be reached, or something keeps the role.
    """
    lockdown = LockDown(params, run_id, remember=_nothing, recall=recall, undo_first=_nothing, undone=undone)
    writers_of(lockdown, _nothing, undone).drop()


def _nothing(name: str, value: object) -> None:
    """What ends a run notes nothing but that."""
