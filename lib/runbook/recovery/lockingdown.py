"""Phase 1 of a recovery: the application stopped, the database closed, the end of WAL safe, and proof that nobody writes.

Each public method is one step of the notebook, in order. The undo of each act is journaled before it.
"""

from __future__ import annotations

from collections.abc import Callable

from runbook.recovery.course import Seen, not_done
from runbook.recovery.done import Done
from runbook.recovery.pitr import PointInTimeRecovery


class LockingDown:
    """The lock-down of one recovery, step by step.

    Args:
        recovery: whose damaged cluster is locked down.
    """

    def __init__(self, recovery: PointInTimeRecovery) -> None:
        self.recovery, self.lockdown = recovery, recovery.lockdown

    def _done(self, name: str, act: Callable[[], Done], moment: str | None = None) -> Seen:
        """An act of the lock-down: looked at anew until the way on is taken; in a dry run it is only said."""

        def look() -> Seen:
            if self.recovery.dry_run:
                return not_done(name)
            found = act()
            if moment is not None:
                self.recovery.course.reach(moment)
            return Seen(found.checks, found.rows)

        return self.recovery.course.keep(name, look)

    def maintain(self) -> Seen:
        """The application is told to stop, nothing fails over or expires: by the hooks that params name."""
        if not self.recovery.dry_run and self.recovery.course.way is None:
            self.recovery.course.reach("begun")
            self.recovery.run.effects("a recovery has locked the database down")

        def act() -> Done:
            first, then = self.lockdown.maintenance(), self.lockdown.freeze()
            return Done([*first.checks, *then.checks], [*first.rows, *then.rows])

        return self._done("maintenance and freeze", act)

    def close(self) -> Seen:
        """Nobody comes in but the operator; what does not ask at that door is listed."""

        def act() -> Done:
            first, then = self.lockdown.close(), self.lockdown.list_open()
            return Done([*first.checks, *then.checks], [*first.rows, *then.rows])

        return self._done("close the database", act, "closed")

    def secure_tail(self) -> Seen:
        """All WAL that production has written is in the archive, or copied out of pg_wal."""
        return self._done(
            "secure the end of WAL",
            lambda: self.lockdown.secure_tail(lambda said: self.recovery.show(said, 0, 0, "segments")),
        )

    def prove_quiet(self) -> Seen:
        """WAL shows no commit any more."""
        return self._done("prove that writes have stopped", self.lockdown.prove_quiet, "quiet")
