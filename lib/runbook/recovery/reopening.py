"""The recovered production after its swap: accepted or taken back, opened, archiving again, and backed up anew.

Each act looks at disks and servers for what is still missing, and may be called again after a crash at any moment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runbook.errors import RunbookError
from runbook.model import Status
from runbook.platforms.cluster import doors, service
from runbook.platforms.cluster.basebackup import take_backup
from runbook.recovery.course import Seen
from runbook.recovery.done import Done, judge
from runbook.recovery.wayon import STOPPED, SWAPPED, WayOn


class Reopening:
    """What follows the swap of one recovery.

    Args:
        onward: whose restored copy stands in production's place.
    """

    def __init__(self, onward: WayOn) -> None:
        self.onward, self.recovery, self.execution = onward, onward.recovery, onward.execution
        self.run, self.course, self.cluster = onward.run, onward.course, onward.cluster
        self.live, self.lockdown = onward.live, onward.lockdown

    def settle(self, verdict: str) -> Seen:
        """Accepted: nothing is undone any more. Back: the damaged cluster stands and runs in its place again."""
        if verdict == "back":
            return self.onward.act("accept or go back", "promote", self._take_back)
        return self.onward.act("accept or go back", "promote", self._accept)

    def _accept(self) -> Seen:
        self.course.reach("accepted")
        self.run.undone(SWAPPED)
        return Seen(
            rows=[{"what": "the recovery", "state": "accepted", "detail": str(self.recovery.aside) + " is kept"}]
        )

    def _take_back(self) -> Seen:
        swap = self.onward.swap()
        if not self.course.noted("taken back"):
            service.stop(self.cluster)
            swap.back()
            service.start(self.cluster)
            self.course.note("taken back", True)
        self.run.undone(SWAPPED)
        self.run.undone(STOPPED)
        # Its own door is still closed: the one that was opened was the restored cluster's.
        opened = doors.open_again(self.live, Path(self.live.facts().hba_file), self.run.id)
        lifted = self.lockdown.lift()
        said = "; ".join(opened.problems) or ("" if opened.in_force else "the server has not read it")
        lifted.checks.append(
            judge(
                "recovery-back-doors",
                "The damaged cluster lets the application in again",
                "its own pg_hba.conf in force",
                opened.hba_file,
                reason=said or None,
                next=f"Look at {opened.hba_file}, then reload the server." if said else None,
            )
        )
        rows = [
            {"what": "the damaged cluster", "state": "runs in its place again", "detail": str(swap.data)},
            *lifted.rows,
        ]
        return Seen(lifted.checks, rows)

    def open(self) -> Seen:
        """Production takes writes again; the lock-down is lifted, the log is watched, the status page is told."""
        return self.onward.act("open production", "promote", self._open)

    def _open(self) -> Seen:
        needed = self.onward.handover().decide_held()
        self.onward.handover().open_for_writing()
        lifted = self.lockdown.lift()
        self.course.reach("open")
        held = [
            {"what": name, "state": f"held at '{value}'", "detail": "decide, then ALTER SYSTEM RESET it"}
            for name, value in self.onward.handover().for_people().items()
        ]
        found = self.onward.telling.tell(Done(list(lifted.checks), [*lifted.rows, *held]))
        limits = [
            f"{name} is held at '{value}' until somebody decides"
            + (f": production has it at '{needed[name]}'" if needed.get(name) else "")
            + f". Then: ALTER SYSTEM RESET {name}, and reload."
            for name, value in self.onward.handover().for_people().items()
        ]
        return Seen(found.checks, found.rows, {**found.facts, "limits": limits})

    def release(self) -> Seen:
        """Archiving goes on, and the new timeline's history is proven to be in the archive."""
        return self.onward.act("release archiving", "promote", self._release)

    def _release(self) -> Seen:
        handover = self.onward.handover()
        handover.release_archiving()
        timeout = self.recovery.params.recovery.archive_timeout
        check = handover.prove_history(
            int(self.execution.beside.noted("timeline")), timeout, lambda said: self.recovery.show(said, 0, 0, "files")
        )
        if check.status is Status.PASS:
            self.course.reach("archived")
        return Seen([check])

    def back_up(self, take_fence: Callable[[], str]) -> Seen:
        """A new base backup: the old ones need the old timeline's WAL to reach the new one. With its fence, by which it will be verified.

        Args:
            take_fence: takes it; its name.
        """
        return self.onward.act("base backup", "promote", lambda: self._back_up(take_fence))

    def _back_up(self, take_fence: Callable[[], str]) -> Seen:
        label = self.course.noted("base backup")
        if label is None:
            label = str(take_backup(self.cluster, self.live, f"after recovery {self.run.id}"[:60]).name)
            self.course.note("base backup", label)
        rows, limits = [{"what": "base backup", "state": "taken and verified", "detail": label}], []
        try:
            fence = self.course.noted("fence") or take_fence()
            self.course.note("fence", fence)
            rows.append({"what": "fence", "state": "taken", "detail": fence})
        except RunbookError as cause:
            limits.append(
                f"The new base backup has no fence: {cause.message} Next: runbook fence take --target {self.recovery.params.target}"
            )
        return Seen(
            [judge("recovery-base-backup", "A base backup of the recovered production is there", "verified", label)],
            rows,
            {"limits": limits},
        )
