"""Point-in-time recovery: which point it is, what would be lost, and the plan for it; what the steps before and after it share.

Each public method is one step of the notebook, in order. The lock-down is in `lockingdown`, the copy in `execution`, the way on from the
pause in `wayon`. Production's damaged cluster is only read here.
"""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from runbook import clock
from runbook.clock import human_bytes
from runbook.errors import OperatorError, PlatformError, TargetOutsideWindow
from runbook.gates.plan import Plan
from runbook.params.schema import Params
from runbook.platforms.cluster.beside import aside_of, folder_beside
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.restoring import size_of
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.timelines import ServerTimeline, ask_server
from runbook.platforms.cluster.window import RecoveryPoint
from runbook.postgres.osuser import service_user
from runbook.recovery.course import Course, Memory, Seen
from runbook.recovery.deletions import RowFates, find_deletions
from runbook.recovery.identify import Evidence, Identification
from runbook.recovery.lockdown import LockDown
from runbook.recovery.loss import Loss
from runbook.recovery.plans import MOVES, plan_recovery
from runbook.recovery.repairs import read_copy_backs
from runbook.recovery.room import Room
from runbook.recovery.suspectchoice import FIND, SuspectChoice, look_back_of, suspect_rows
from runbook.recovery.suspects import RecoveryTarget, Suspect
from runbook.texts import many


class Keeper(Memory, Protocol):
    """What a recovery needs of its run."""

    id: str
    dir: Path
    params: Params

    def undo_first(self, act: str, undo: str) -> None:
        """Before an act: how it is taken back."""

    def undone(self, act: str) -> None:
        """The act was taken back, or accepted."""

    def effects(self, what: str | None) -> None:
        """The target stays locked for others; None: not any more."""

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        """How far a step is."""


class PointInTimeRecovery:
    """The state between the steps of one recovery.

    Args:
        run: remembers over attempts, takes undos and progress.
        dry_run: nothing is changed; what would be done is shown.
        recovery_point, timeline, suspects, look_back: as the notebook's parameters say.
    """

    def __init__(
        self,
        run: Keeper,
        dry_run: bool,
        recovery_point: str = FIND,
        timeline: str = "auto",
        suspects: str = "",
        look_back: str = "24 h",
    ) -> None:
        params = run.params
        if params.cluster is None:
            raise OperatorError(f"Target '{params.target}' is no cluster.", next="Use a target with platform: cluster.")
        self.run, self.params, self.cluster, self.dry_run = run, params, params.cluster, dry_run
        self.course = Course(run)
        self.live = LiveServer(self.cluster, run.id)
        data = self.live.need_data()
        self.folder = folder_beside(data, params.recovery.location, run.id)
        self.aside = aside_of(data, run.id)
        elsewhere = params.recovery.move_first_to
        self.room = Room(self.cluster, self.course, self.folder, elsewhere, run.id, run.undo_first)
        if not dry_run:
            self.room.mend()
        self.user = service_user(self.cluster.os_user, self._home(data))
        self._asked, self._timeline = recovery_point, timeline
        self.suspects = SuspectChoice(self.course, suspects, dry_run=dry_run)
        self._timeout = params.verification.check_timeout
        self.lockdown = LockDown(
            params,
            run.id,
            remember=run.remember,
            recall=run.recall,
            undo_first=run.undo_first,
            undone=run.undone,
        )
        self.identification = Identification(
            self.selection,
            self.live,
            run.dir / "search",
            self.show,
            look_back=look_back_of(look_back),
            timeout=self._timeout,
            earlier=lambda: read_copy_backs(run.dir.parent, run.id),
        )
        self.loss: Loss | None = None
        self.target: RecoveryTarget | None = None
        self.damage: list[Suspect] = []

    def _home(self, data: Path) -> Path:
        """A data directory that is there, also when a swap was cut short."""
        return next((one for one in (data, self.aside, self.folder / "data") if (one / "PG_VERSION").exists()), data)

    def major(self) -> int:
        """The version of the damaged cluster.

        Raises:
            PlatformError: nothing says it.
        """
        version = self._home(self.live.need_data()) / "PG_VERSION"
        try:
            return int(version.read_text("utf-8").strip())
        except (OSError, ValueError) as cause:
            raise PlatformError(
                f"{version} does not say which version of PostgreSQL this is: {cause}.",
                next="Run as a user who can read it; then resume.",
            ) from cause

    def show(self, label: str, done: float, total: float, unit: str) -> None:
        """Progress of the step."""
        self.run.progress(label, done, total or None, unit)

    def selection(self, point: str) -> Selection:
        """Backups, archive (with the secured tail) and timelines for a point."""
        tail = self.lockdown.tail
        extra = tail.folder if tail is not None else None
        timeline = str(self.course.noted("timeline", self._timeline))
        return Selection(self.cluster, self.user, point, timeline, self._timeout, extra, ask=self._ask_server)

    def _ask_server(self, systems: frozenset[str]) -> ServerTimeline:
        """The timeline that the damaged server writes, or wrote while this run could ask it: it is stopped before it is swapped."""
        kept = self.course.noted("server timeline")
        if kept is None or self.course.way is None:
            found = ask_server(lambda: self.live.connect(statement_timeout=10), systems)
            if found.number is not None:
                self.course.note("server timeline", {"number": found.number, "at": clock.stamp(clock.now())})
            if found.number is not None or kept is None:
                return found
        return ServerTimeline(int(kept["number"]), f"the running server wrote it when this run asked it, {kept['at']}")

    @property
    def instance(self) -> str:
        """Which instance this is, for people who approve."""
        return f"{socket.gethostname()}:{self.live.need_data()}"

    # -- identify ------------------------------------------------------------------------------------------

    def look_at_window(self) -> Seen:
        """What backups and WAL can be recovered to."""

        def look() -> Seen:
            wrong = self.identification.look()
            rows = [*self.identification.window_rows()]
            timeline = self.identification.timeline_facts()
            wrong += timeline["limits"]
            if self.dry_run and not timeline["given"]:
                wrong.append(f"{timeline['question']} This dry run follows timeline {self.identification.followed}.")
            facts = {"caption": self.identification.window_caption, "wrong": wrong, "timeline": timeline}
            return Seen(rows=rows, facts={**facts, **self._system()})

        return self.course.keep("window", look)

    def follow(self, decided: str) -> list[str]:
        """The timeline that people have decided on is followed from here on, in later attempts too.

        Returns:
            What has to be said of the others.

        Raises:
            TargetOutsideWindow: no backup is on it.
        """
        if self.course.way is not None or not decided or not self.identification.is_open:
            return []
        self.course.note("timeline", decided)
        self.identification.look()
        return list(self.identification.timeline_facts()["limits"])

    def _system(self) -> dict[str, Any]:
        """Which system this is, for the top of the report."""
        selection = self.identification.selection
        assert selection is not None
        newest = selection.candidates[0]
        facts = {"system_identifier": newest.system_identifier, "server_version": selection.tools.version}
        return {"system": {**facts, "host": socket.gethostname()}}

    def search(self) -> Seen:
        """The suspects, most suspicious first."""

        def look() -> Seen:
            found, said = self.suspects.searched(self.identification.search)
            speed = (found.search.reached - found.search.start) / max(found.search.seconds, 0.001)
            facts = {
                "wal": human_bytes(found.search.reached - found.search.start),
                "rate": f"{human_bytes(speed)}/s",
                "commits": found.search.commits,
                "from": f"base backup {found.backup.label}",
                "names missed": found.missed,
                **self.suspects.facts(found.suspects, said),
            }
            return Seen(rows=suspect_rows(found.suspects), facts={**facts, "limits": self._not_searched(found)})

        return self.course.keep("search", look)

    def _not_searched(self, found: Evidence) -> list[str]:
        """What the search did not read, though the damage may be there: in a dry run nobody secures the end of WAL."""
        limits = [f"Names of relations: {said}" for said in found.missed]
        if self.dry_run:
            limits.append(self.identification.unarchived_words(found.search.reached))
        return limits

    @property
    def evidence(self) -> Evidence | None:
        """What the search of this attempt found; None when it was not searched again."""
        return self.identification.evidence

    @property
    def moves(self) -> list[str]:
        """Points that the operator has moved the target to, in their order."""
        return list(self.course.noted("moves", []))

    def move(self, option: str, value: str) -> None:
        """The target is moved, if it can be recovered to: the next attempt (or the next run of these cells) recovers to it."""
        if option not in MOVES:
            raise ValueError(f"{option} moves nothing")
        self.identification.refuse_point(value)
        self.course.note("moves", [*self.moves, value])

    def suspects_question(self, seen: Seen) -> dict[str, Any]:
        """Return the question which suspects are undone, from what the search has just shown."""
        return self.suspects.question(seen.facts, self._asked_now)

    @property
    def _asked_now(self) -> str:
        """The point as it was asked for last: moved to, given by hand, or the notebook's parameter."""
        return self.moves[-1] if self.moves else self.suspects.by_hand or self._asked

    def ask_again(self, option: str, value: str) -> Seen | None:
        """What a wider search shows, or what was wrong with the answer; None: the answer stands."""
        if (found := self.evidence) is None or self._asked_now.strip() != FIND:
            return None
        said = self.suspects.again(option, value, found.suspects, self.identification.refuse_point)
        return None if said is None else self.suspects.said(self.search(), said)

    def _chosen(self, asked: str) -> str:
        return self.suspects.chosen() if asked.strip() == FIND and self.evidence and self.evidence.suspects else ""

    def propose(self) -> Seen:
        """The point: moved to, asked for, or found; as a position, written down.

        Raises:
            OperatorError: nothing is suspected, and no point was given.
            TargetOutsideWindow: the nearest points are named.
        """
        return self.course.keep("point", self._propose)

    def _propose(self) -> Seen:
        asked = self._asked_now
        try:
            target, damage = self.identification.propose(asked, self._chosen(asked))
            if target is None:
                if not self.dry_run:
                    raise OperatorError("No suspect was chosen.", next=f"runbook status {self.run.id}")
                point = self.identification.resolve("latest").point
                return Seen(rows=[{"what": "point", "value": "no suspect is proposed: the archive's end is shown"}],
                            facts={"point": point.facts(), "sentence": "the archive's end", "damage": {}})  # fmt: skip
            point = self.identification.resolve(target.asked).point
        except TargetOutsideWindow as cause:
            nearest = "; ".join(
                f"{row['point']} {row['position']} ({row['of']})" for row in self.identification.nearest_points()
            )
            raise TargetOutsideWindow(
                f"{cause.message} What can be had: {nearest}.", next=cause.next or "Choose a point between them."
            ) from cause
        self.target, self.damage = target, damage
        left_out = target.first_left_out
        facts = {
            "first_left_out": left_out.xid if left_out is not None else None,
            "xids": sorted({xid for one in damage for xid in one.xids})[:1000],
            "sentences": [one.sentence for one in damage],
            # Words that stay the same while the search of a later attempt begins at another backup.
            "chosen": [one.words for one in damage] if asked.strip() == FIND else [],
            "locked": target.is_locked,
            "returns prepared": sorted(xid for one in damage for xid in one.returning(target.gate)),
        }
        self.course.reach("point")
        rows = [{"what": name, "value": value} for name, value in target.rows()]
        return Seen(rows=rows, facts={"point": point.facts(), "sentence": target.sentence, "damage": facts})

    @property
    def point(self) -> RecoveryPoint:
        """The point as it was written down last."""
        kept = self.run.recall("recovery/seen/point")
        return RecoveryPoint.from_facts(Seen.load(kept).facts["point"])

    @property
    def sentence(self) -> str:
        """The point in words."""
        return str(Seen.load(self.run.recall("recovery/seen/point")).facts["sentence"])

    def note_approval(self, at: datetime | None) -> None:
        """The recovery to this point was approved: when the last signature that it needed was made, whenever the run went on."""
        if not self.dry_run and at is not None:
            self.course.reach("approved", self.point.key, at)

    def count_loss(self) -> Seen:
        """The transactions behind the point, by table, the damage's apart."""

        def look() -> Seen:
            if self.target is None:
                return Seen(rows=[{"table": "nothing lies behind the archive's end"}], facts={"transactions": 0})
            self.loss = self.identification.count_loss(self.point, self.damage)
            return Seen(rows=self.loss.table_rows(), facts=self.loss.facts())

        return self.course.keep("loss", look)

    @staticmethod
    def loss_caption(seen: Seen) -> str:
        """How many transactions are lost, over their tables."""
        return f"After the recovery point: {many(seen.facts['transactions'], 'transaction')} of others, and the damage"

    def fates(self) -> RowFates | None:
        """What became of each row that the damage touched, so that others' deletes are not taken for the damage's; None: too many.

        Raises:
            WalDamaged, CommandTimedOut.
        """
        stage, selection = self.identification.loss_stage, self.identification.selection
        if self.loss is None or stage is None or selection is None or self.loss.gate != self.point.gate:
            return None  # production had left the point's timeline before it: places in the copy are not the damaged server's
        return find_deletions(
            stage,
            stage.lineage,
            selection.tools,
            stage.start,
            self.loss.reached,
            self.loss.xids,
            self.loss.damage_xids,
            files=self.loss.damage_files,
        )

    def look_for_room(self) -> Seen:
        """Whether the copy fits beside production, or what is moved away first.

        Raises:
            ScratchFull, OperatorError: there is no room, and none can be made.
        """

        def look() -> Seen:
            selection = self.identification.selection
            assert selection is not None, "the window was looked at in this attempt"
            backup = selection.backup_of(self.point)
            return self.room.decide(backup.label, lambda: size_of(backup, selection.live_folders()))

        return self.course.keep("look for room", look)

    def learn_again(self) -> None:
        """The damage and the loss as WAL tells them (`search`, `propose`, `count_loss`), for an attempt that only carries out what was
        decided before; without what this run has copied back itself."""
        self.identification.until = self.course.noted("copy-back from")
        self.identification.look()
        self.suspects.searched(self.identification.search)
        asked = self._asked_now
        self.target, self.damage = self.identification.propose(asked, self._chosen(asked))
        if self.target is not None:
            self.loss = self.identification.count_loss(self.point, self.damage)

    def plan(self, why: str, commander: str) -> Plan:
        """What the second person approves: restore beside, paused at this point."""
        return plan_recovery(
            self.params.target,
            self.instance,
            self.point,
            self.sentence,
            str(self.folder),
            why,
            commander,
            moved_to=self.room.moved_to,
            damage=Seen.load(self.run.recall("recovery/seen/point")).facts["damage"].get("chosen", ()),
        )

    def clean_up(self) -> None:
        """The WAL that was laid to be searched is gone; safe twice."""
        self.identification.clean_up()
