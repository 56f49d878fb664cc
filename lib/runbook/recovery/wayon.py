"""Phase 3 of a recovery: the way on from the pause. The restored copy is promoted and swapped in, or everything stays as it was.

Each act looks at disks and servers for what is still missing, and may be called again after a crash at any moment. The damaged
cluster is renamed, never deleted; until the recovery is accepted, the way back is open.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from runbook.errors import OperatorError, PlatformError, RunbookError
from runbook.gates.plan import Plan
from runbook.model import Check, Severity, Status
from runbook.platforms.cluster import service
from runbook.platforms.cluster.handover import Handover
from runbook.platforms.cluster.swap import Swap
from runbook.postgres.wal import format_lsn
from runbook.recovery.account import needs_answer
from runbook.recovery.backing import CopyingBack
from runbook.recovery.closing import DOORS
from runbook.recovery.course import Seen, not_done
from runbook.recovery.decisions import SequenceDecision, TriggerDecision
from runbook.recovery.done import judge
from runbook.recovery.execution import Execution
from runbook.recovery.lockdown import LIFTED
from runbook.recovery.plans import MOVES, plan_way, swaps_of
from runbook.recovery.planted import check_planted
from runbook.recovery.room import MOVED_FIRST
from runbook.recovery.sideeffects import discarded_lines
from runbook.recovery.telling import Telling
from runbook.texts import many

SWAPPED = "the restored copy was swapped in"
STOPPED = "the damaged server was stopped"


class WayOn:
    """The way on of one recovery.

    Args:
        execution: whose copy stands at the point.
    """

    def __init__(self, execution: Execution) -> None:
        self.execution, self.recovery = execution, execution.recovery
        self.run, self.course, self.cluster = execution.run, execution.course, execution.cluster
        self.live, self.lockdown = execution.live, execution.recovery.lockdown
        self.copying = CopyingBack(execution)
        self.triggers = TriggerDecision(self.copying)
        self.sequences = SequenceDecision(execution, self.copying)
        self.telling = Telling(execution.recovery)

    @property
    def way(self) -> str:
        """The way that is carried out; empty before one was approved, and in a dry run."""
        return self.course.way or ""

    def swap(self) -> Swap:
        """The renames of this recovery."""
        return Swap(self.cluster, self.execution.beside, self.run.id, self.recovery.user)

    def handover(self) -> Handover:
        """What the restored cluster needs to be production."""
        swap = self.swap()
        return Handover(self.cluster, self.execution.beside, swap.data, swap.aside, self.recovery.user)

    # -- the decision --------------------------------------------------------------------------------------

    @property
    def answers_used(self) -> int:
        """How many answers to how it goes on are used up: each has moved the target, or was refused."""
        return len(self.recovery.moves) + len(self.course.noted("ways refused", []))

    def uses_up(self, option: str, value: str) -> str | None:
        """An answer that ends nothing: it moves the target, or is a way that would restore nothing.

        Returns:
            The question that is asked again; None when the way can be taken.
        """
        if self.way:
            return None
        why = self.copying.refusal() if option == "copy-back" else None
        said = f"No plan is made for it, {why}."
        if option in MOVES:
            try:
                self.recovery.move(option, value)
                return "The target is moved: resume (or run the cells again from the point)."
            except RunbookError as cause:
                why, said = cause.message, f"The target is not moved: {cause.message}"
        if why is None:
            return None
        self.course.note("ways refused", [*self.course.noted("ways refused", []), why])
        return f"{said} How does it go on instead?"

    # -- the plan ------------------------------------------------------------------------------------------

    def plan(self, way: str, why: str) -> Plan:
        """What the second person approves; the same plan as long as it is being carried out."""
        kept = self.course.noted("way plan")
        if self.course.way is not None and kept is not None:
            return Plan.model_validate(kept)
        if way == "promote":
            self.swap().refuse_impossible()
        if way == "copy-back" and (refusal := self.copying.refusal()) is not None:
            raise OperatorError(f"No plan is made, {refusal}.", next=f"runbook resume {self.run.id}")
        loss = Seen.load(self.run.recall("recovery/seen/loss") or Seen().dump()).facts
        damage = Seen.load(self.run.recall("recovery/seen/point") or Seen().dump()).facts.get("damage", {})
        plan = plan_way(
            way,
            self.recovery.params.target,
            instance=self.recovery.instance,
            point=self.recovery.point,
            moves=[move.words() for move in self.swap().moves()] if way == "promote" else [],
            discarded=_discarded(loss),
            copied=self.copying.plan_facts() if way == "copy-back" else {},
            left=[*self.copying.plan_left(), *self.sequences.note_left()] if way == "copy-back" else (),
            also_lost=[*discarded_lines(loss), *self._also_lost()] if way == "promote" else (),
            prepared=damage.get("returns prepared", []),
            triggers=self.copying.plan_triggers() if way == "copy-back" else {},
            sequences=self.sequences.plan_facts(way),
            forward=[gap.title for gap in self.sequences.forward] if way == "promote" else (),
            why=why,
        )
        self.course.note("way plan", plan.model_dump(mode="json"))
        return plan

    def _also_lost(self) -> list[str]:
        """What a promotion empties or changes besides, as it was seen of the paused copy."""
        kept = self.run.recall("recovery/seen/revenants") or Seen().dump()
        return [*Seen.load(kept).facts.get("promotion", []), *self.sequences.left_by_promotion()]

    def preview(self) -> Plan:
        """What a dry run shows: the plan to promote, without a copy."""
        return plan_way(
            "promote",
            self.recovery.params.target,
            instance=self.recovery.instance,
            point=self.recovery.point,
            moves=[(str(self.live.need_data()), str(self.recovery.aside))],
            discarded="as counted above",
            copied={},
            why="a dry run",
        )

    def set_out(self, way: str, approved_at: datetime | None = None) -> None:
        """The approved way is being carried out from here on: what was seen is not looked at again."""
        if not self.recovery.dry_run:
            self.course.reach("chosen", at=approved_at)
            self.course.set_out(way)

    def act(self, name: str, way: str, act: Callable[[], Seen]) -> Seen:
        """An act of one way; on another way, and in a dry run, it says that it is none of it."""
        if self.recovery.dry_run:
            return not_done(name)
        if self.way != way:
            return not_done(name, f"not on the way '{self.way}'")
        if way == "promote" and self.is_going_back and name not in ("promote", "accept or go back"):
            return not_done(name, "the recovery is taken back")
        return act()

    @property
    def is_going_back(self) -> bool:
        """True once somebody has decided to go back, before the swap or after it."""
        return bool(self.course.noted("going back") or self.course.noted("taken back"))

    # -- promote and swap ----------------------------------------------------------------------------------

    def promote(self, prove: Callable[[list[Check]], list[Check]]) -> Seen:
        """The damaged server is down, the copy is a server of its own, stopped cleanly, and depends on no archive.

        Args:
            prove: makes those checks of the copy again that had to wait for the promotion.

        Raises:
            RecoveryFailed: it forked elsewhere than at the point.
            PlatformError: the HA manager is not paused, or a server does not stop.
        """
        return self.act("promote", "promote", lambda: self._promote(prove))

    def _promote(self, prove: Callable[[list[Check]], list[Check]]) -> Seen:
        beside = self.execution.beside
        if not beside.noted("ready"):
            self.lockdown.require_ha_paused()
            if self.swap().state() == "before":
                self.run.undo_first(STOPPED, "answer 'back' where the run asks, or start it by its service manager")
                service.stop(self.cluster)
            if not beside.noted("promoted"):
                self.execution.stand_at_the_point()
                beside.promote(self.execution.replay, self.recovery.point.reached)
            damage = Seen.load(self.run.recall("recovery/seen/point")).facts["damage"]
            beside.roll_back_prepared(damage.get("returns prepared", []))
            checks, rows = self.sequences.carry_out()
            sequences = {"checks": [check.model_dump(mode="json") for check in checks], "rows": rows}
            self.execution.check_put_off(prove)
            beside.stop("fast")
            removed = beside.free_of_archive()
            beside.note(ready=True, freed=len(removed), planted=self.swap().find_planted(), sequences=sequences)
        timeline = int(beside.noted("timeline"))
        point = self.recovery.point
        check = Check(
            id="recovery-promoted",
            title="The copy was promoted exactly at the point",
            status=Status.PASS,
            expected=f"timeline forks at {format_lsn(point.reached)}",
            observed=f"timeline {timeline} forks there",
            severity=Severity.CRITICAL,
            source=f"{timeline:08X}.history",
        )
        rows = [{"what": "the copy", "state": f"promoted, timeline {timeline}", "detail": "stopped cleanly"}]
        prepared, rolled_back = beside.noted("prepared", []), beside.noted("rolled back", [])
        rows += [
            {
                "what": f"prepared transaction {gid}",
                "state": "is back" if gid not in rolled_back else "rolled back",
                "detail": "commit or roll back as its coordinator says"
                if gid not in rolled_back
                else "it was the damage",
            }
            for gid in prepared
        ]
        limits = [f"{said}." for said in self._also_lost()]
        limits += [
            f"Prepared transaction {gid} is back and holds its locks: commit it or roll it back as its coordinator says."
            for gid in prepared
            if gid not in rolled_back
        ]
        limits += [f"Prepared transaction {gid} was the damage itself; it was rolled back." for gid in rolled_back]
        made_up_for = self.execution.check_put_off(prove)
        sequences = beside.noted("sequences", {"checks": [], "rows": []})
        rows += sequences["rows"]
        made_up_for += [Check.model_validate(one) for one in sequences["checks"]]
        return Seen(
            [check, check_planted(beside.noted("planted", [])), *made_up_for],
            rows,
            {"lifted": self.execution.kept.limits_until_promotion, "limits": limits},
        )

    def doubts(self, promoted: Seen) -> list[Check]:
        """The checks of the promotion that have not passed: a person decides whether the copy is swapped in."""
        return [check for check in promoted.checks if check.status is not Status.PASS]

    def question(self, doubts: list[Check]) -> str:
        """What is asked then."""
        if not doubts:
            return "Is the promoted copy swapped in?"
        first = doubts[0]
        asked = "Is it swapped in all the same?" if "swap" in swaps_of(doubts) else "It cannot be swapped in."
        return (
            f"Production is down and the copy is promoted, not swapped in yet. {len(doubts)} of what was checked since did not pass, "
            f"first '{first.title}': {first.status}, {first.reason} {asked}"
        )

    @property
    def is_swapped(self) -> bool:
        """True when there is a swap to be accepted or taken back."""
        return self.way == "promote" and not self.course.noted("going back")

    @property
    def settled(self) -> str:
        """The answer to whether it is accepted, when there was no swap."""
        return "back: decided before the swap" if self.course.noted("going back") else "accept: nothing was swapped"

    def decide(self, option: str) -> None:
        """The answer to that: swap (nothing else is done here), or back."""
        if option == "back" and not self.recovery.dry_run:
            self.course.note("going back", True)

    def swap_in(self) -> Seen:
        """The damaged cluster stands aside, the restored one in its place, with production's configuration of today."""
        return self.act("swap", "promote", self._swap_in)

    def _swap_in(self) -> Seen:
        swap = self.swap()
        left = swap.left_where_they_are()
        if not self.execution.beside.noted("handed over"):
            if service.is_running(self.cluster):  # since it was stopped a reboot, or somebody, has started it again
                service.stop(self.cluster)
            swap.refuse()  # while an abort can still start the damaged server again
            by_hand = swap.back_by_hand()
            self.run.undo_first(SWAPPED, f"answer 'back' before it is accepted; by hand, servers down: {by_hand}")
            self.run.undone(STOPPED)
            swap.forward()
            self.handover().configure()
            self.execution.beside.note(**{"handed over": True})
        rows = [{"what": str(move.old), "state": "is now", "detail": str(move.new)} for move in swap.moves()]
        rows += [{"what": one, "state": "stays", "detail": why} for one, why in left.items()]
        check = judge("recovery-swapped", "The restored cluster stands in production's place", "after", swap.state())
        return Seen([check], rows)

    def start_read_only(self) -> Seen:
        """Production runs under its service manager: read-only, then open to the application's reads."""
        return self.act("start read-only", "promote", self._start_read_only)

    def _start_read_only(self) -> Seen:
        timeline = int(self.execution.beside.noted("timeline"))
        service.start(self.cluster)
        facts = self.live.facts()
        is_ours = facts.timeline == timeline and not facts.in_recovery
        checks = [
            Check(
                id="recovery-started",
                title="Production is the restored cluster, on its own timeline",
                status=Status.PASS if is_ours else Status.FAIL,
                expected=f"timeline {timeline}",
                observed=f"timeline {facts.timeline}" + (", in recovery" if facts.in_recovery else ""),
                severity=Severity.CRITICAL,
                reason=None if is_ours else "Another cluster than the restored one answers.",
                next=None if is_ours else "Stop it; see who started what.",
            )
        ]
        if not self.course.reached("open"):
            lifted = self.lockdown.lift([DOORS])
            checks += lifted.checks
            checks.append(self._read_only_check())
        self.course.reach("read-only")
        rows = [
            {"what": "production", "state": "runs", "detail": f"timeline {facts.timeline}, archiving held, read-only"}
        ]
        return Seen(checks, rows)

    def _read_only_check(self) -> Check:
        writers = self.handover().who_may_write()
        return judge(
            "recovery-read-only",
            "Production starts read-only",
            "no new session may write",
            f"may write: {', '.join(writers)}" if writers else "no new session may write",
            reason="Something overrides default_transaction_read_only." if writers else None,
            next="ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only; every session: look for -c options in the start command."
            if writers
            else None,
        )

    def smoke_test(self) -> Seen:
        """The operator's smoke tests against the read-only production."""
        return self.act("smoke tests", "promote", self.telling.smoke_test)

    # -- the other ways ------------------------------------------------------------------------------------

    def copy_back(self) -> Seen:
        """The lost rows are in production again; the lock-down is lifted."""

        def act() -> Seen:
            found = self.copying.carry_out()
            behind = [f"{said}." for said in self.sequences.noted_left]
            # Where rows are not back the copy is the one place that has them: it stays until somebody has decided.
            lifted = self._leave(keeps_copy=bool(needs_answer(found.facts.get("account"))))
            facts = {**found.facts, "limits": [*found.facts.get("limits", []), *behind]}
            return Seen([*found.checks, *lifted.checks], [*found.rows, *lifted.rows], facts)

        return self.act("copy the lost rows back", "copy-back", act)

    def go_back(self) -> Seen:
        """Everything is as it was: the lock-down is lifted, the copy is gone."""
        return self.act("go back to the damaged cluster", "back", lambda: self._leave())

    def _leave(self, *, keeps_copy: bool = False) -> Seen:
        lifted = self.lockdown.lift()
        self.course.reach("open")
        if keeps_copy:
            self.execution.stop()
        else:
            self.execution.beside.remove()
        return self.telling.tell(lifted)

    def finish(self) -> Seen:
        """The target is free for others: all was accepted, or taken back, and production answers.

        Raises:
            PlatformError: a part of the lock-down could not be lifted, or production has ended meanwhile.
        """
        if self.recovery.dry_run:
            return not_done("measure the recovery")
        left = [act for act in LIFTED if self.lockdown.is_begun(act)]
        if left:
            raise PlatformError(f"Not taken back: {', '.join(left)}.", next="Undo it by hand, then resume.")
        if not self.live.is_up():
            raise PlatformError(
                "Production does not answer, at the end of its recovery.",
                next="Read its log, start it with its service manager, then resume.",
            )
        self.course.reach("done")
        self.run.undone(MOVED_FIRST)  # it lasts: the report's top says so where production still stands there
        self.run.effects(None)
        return Seen([judge("recovery-answers", "Production answers at the end", "accepts connections", "accepts them")])


def _discarded(loss: dict[str, Any]) -> str:
    """The others' transactions that a promotion discards, in words."""
    number, first, last = loss.get("transactions", 0), loss.get("first"), loss.get("last")
    if not number or first is None or last is None:
        return "no transaction of others"
    return f"{many(number, 'transaction')}, {first['at']} to {last['at']}"
