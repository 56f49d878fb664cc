"""Room for the restored copy beside production; where there is none, production's files are moved to another disk first.

Only when space forces it, said in the plan that is approved, and with the service's own commands: the damaged server is stopped, its files
are copied, proven and linked to, and it runs again from there, closed as before. All that follows finds it by the link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runbook import layout
from runbook.clock import human_bytes
from runbook.errors import OperatorError, ScratchFull
from runbook.params.schema import Cluster
from runbook.platforms.cluster import service
from runbook.platforms.cluster.copying import allocated, free_bytes, remove_tree, tree_size, with_spare
from runbook.platforms.cluster.movefirst import MoveFirst
from runbook.postgres.osuser import service_user
from runbook.recovery.course import Course, Seen

MOVED_FIRST = "production's files were moved to another disk, to make room"
_STOPPED = "stopped to be moved"


@dataclass(frozen=True)
class Room:
    """The room of one recovery.

    Attributes:
        beside: the folder that the copy will stand in.
        elsewhere: folder on another disk, for production's files; None where params name none.
        undo_first: notes an act and how it is taken back, before it is done.
    """

    cluster: Cluster
    course: Course
    beside: Path
    elsewhere: str | None
    run_id: str
    undo_first: Callable[[str, str], object]

    @property
    def moving(self) -> MoveFirst | None:
        """The move, where params name a place for it."""
        if self.elsewhere is None or self.cluster.data_directory is None:
            return None
        data = layout.resolve(self.cluster.data_directory)
        user = service_user(self.cluster.os_user, data)
        return MoveFirst(data, layout.resolve(self.elsewhere), self.run_id, user)

    def decide(self, backup: str, size: Callable[[], int]) -> Seen:
        """There is room for the copy, or production's files go elsewhere first: decided, and told.

        Once a copy of this backup was restored it stays as it was decided: what others write to the disk since does not
        void what was approved.

        Args:
            backup: label of the base backup. size: bytes of its files.

        Raises:
            ScratchFull: there is no room, and none can be made.
            OperatorError: production's files cannot be moved to where params say.
        """
        kept = self.course.noted("room")
        if kept is None or self.course.reached("restored") is None or kept["backup"] != backup:
            wanted = size()
            to = self._look(wanted)
            self.course.note("room", {"backup": backup, "to": str(to) if to else None, "wanted": wanted})
        return Seen(rows=[self._row("stay where they are", "are to be moved to {}")])

    @staticmethod
    def _back(moving: MoveFirst) -> str:
        return (
            f"server down, and when there is room: rm -f {moving.place} && cp -a {moving.to} {moving.place}; until then that disk "
            "must be mounted before the server starts"
        )

    def left_elsewhere(self) -> list[str]:
        """For the top of the report: production still runs from the other disk, and how its files come back."""
        moving = self.moving
        if moving is None or not moving.is_done:
            return []
        return [f"Production's files were moved to another disk, to make room. Back: {self._back(moving)}."]

    @property
    def moved_to(self) -> str | None:
        """Where production's files go first, as it was decided; None when they stay."""
        to = (self.course.noted("room") or {}).get("to")
        return str(to) if to else None

    def _row(self, stay: str, move: str) -> dict[str, str]:
        wanted = self.course.noted("room")["wanted"]
        return {
            "where": str(self.beside.parent),
            "needed": human_bytes(with_spare(wanted)),
            "free": human_bytes(self.free()),
            "production's files": move.format(self.moved_to) if self.moved_to else stay,
        }

    def _look(self, wanted: int) -> Path | None:
        moving = self.moving
        if moving is not None and moving.is_begun:
            return moving.to
        free = self.free()
        if free >= with_spare(wanted):
            return None
        said = f"{self.beside.parent} has {human_bytes(free)} free, and the restored copy needs {human_bytes(with_spare(wanted))}"
        if moving is None:
            raise ScratchFull(
                f"{said}.",
                next="Free space there, or name a folder on another disk as recovery.move_first_to in params: production's "
                "files are then moved there before the copy is restored. Then resume (after a change of params with --accept-change WHY).",
            )
        moving.refuse_impossible()
        size, freed = tree_size(moving.place), allocated(moving.place)
        if self.beside.parent.stat().st_dev != moving.place.stat().st_dev:
            raise OperatorError(
                f"{said}; {moving.place} is on another disk, so moving it makes no room.",
                next="Free space there, or leave out recovery.location.",
            )
        if free + freed < with_spare(wanted):
            raise ScratchFull(
                f"{said}: not even without the {human_bytes(freed)} of {moving.place}.",
                next="Free space there, then resume.",
            )
        there = free_bytes(moving.folder) + sum(allocated(one) for one in moving.leftovers())
        if there < with_spare(size):
            raise ScratchFull(
                f"{said}; {moving.folder} has {human_bytes(there)} free, and production's files need {human_bytes(with_spare(size))}.",
                next="Free space in one of the two, then resume.",
            )
        return moving.to

    def free(self) -> int:
        """Bytes that a copy may take: what is free, and what an earlier attempt's copy takes."""
        earlier = allocated(self.beside) if self.beside.exists() else 0
        return free_bytes(self.beside.parent) + earlier

    def mend(self) -> None:
        """After a move that was cut short production's files are in their place, and the damaged server runs that was stopped for it.

        Raises:
            CommandFailed, CommandTimedOut, PlatformError: it does not start.
        """
        if self.moving is not None:
            self.moving.mend()
        if self.course.noted(_STOPPED):
            service.start(self.cluster)
            self.course.note(_STOPPED, False)

    def call_off(self) -> list[str]:
        """Production stands whole in one place and runs as before the move; what a move that was cut short has left is gone.

        Returns:
            What stays, for the top of the report.

        Raises:
            OperatorError: params do not say any more where the files went.
            CommandFailed, CommandTimedOut, PlatformError: the server does not start, or a file cannot be removed.
        """
        moving = self.moving
        if moving is None:
            raise OperatorError(
                "Params do not say any more where production's files were to be moved.",
                next="Name recovery.move_first_to again.",
            )
        self.mend()
        if moving.is_begun:
            moving.carry_out(
                lambda done, total: None
            )  # they were copied and proven: what is left is to free their place
        for earlier in moving.leftovers():
            remove_tree(earlier)
        return self.left_elsewhere()

    def make(self, show: Callable[[int, int], None]) -> Seen:
        """There is room for the copy, as it was decided. Safe again after a crash.

        Args:
            show: called with bytes moved and in total.

        Raises:
            ScratchFull, PlatformError: production's files could not be moved; they are where they were.
            CommandFailed, CommandTimedOut: the service manager could not stop or start the server.
        """
        moving = self.moving
        if moving is not None and self.moved_to and not moving.is_done:
            self.undo_first(MOVED_FIRST, self._back(moving))
            # A server that was down before is not started: that is for a person to decide.
            self.course.note(_STOPPED, service.is_running(self.cluster))
            service.stop(self.cluster)
            try:
                moving.carry_out(show)
            finally:
                self.mend()
        return Seen(rows=[self._row("stay where they are", "stand in {}, a link in their place")])
