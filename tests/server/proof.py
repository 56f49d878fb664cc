"""A verification driven step by step, as the notebook does, with all that it said."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from homes import at_home
from own_cluster import OwnCluster
from runbook.errors import RunbookError, TargetError
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.verification import shown
from runbook.verification.backup import BackupVerification


@dataclass
class Outcome:
    """What a verification said. `seen` is what `look` found at the point."""

    checks: list[Check] = field(default_factory=list)
    error: RunbookError | None = None
    point: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)
    timeline: int | None = None
    backup: str | None = None
    seen: Any = None

    @property
    def verdict(self) -> str:
        """By the house's rules: of two checks of the same name the worse counts."""
        states = {check.status for check in self.checks}
        if isinstance(self.error, TargetError) or Status.FAIL in states:
            return "FAIL"
        if self.error is not None or Status.UNKNOWN in states or not states:
            return "INCOMPLETE"
        return "PASS"

    def check(self, name: str) -> Check:
        """The last check of that name."""
        found = [check for check in self.checks if check.id == name]
        assert found, f"no check {name} in {[check.id for check in self.checks]}; {self.error!r}"
        return found[-1]

    @property
    def alarms(self) -> list[str]:
        """All that is not PASS, in words."""
        last = {check.id: check for check in self.checks}
        said = [f"{check.id}: {check.status}: {check.reason}" for check in last.values() if check.status != Status.PASS]
        return said + ([f"{type(self.error).__name__}: {self.error}"] if self.error else [])

    @property
    def said(self) -> str:
        """Every reason and every next step, for a search."""
        words = [str(self.error)] if self.error else []
        for check in self.checks:
            if check.status != Status.PASS:
                words.append(f"{check.reason} {check.next}")
            words += [f"{item.object} {item.message}" for item in check.findings]
        return "\n".join(words)


def verify(
    params: Params,
    *,
    promote: bool = False,
    look: Callable[[BackupVerification], Any] | None = None,
    before: Callable[[BackupVerification, str], None] = lambda proof, step: None,
    keep: bool = False,
    run_id: str | None = None,
    **asked: str,
) -> Outcome:
    """The steps in the notebook's order; the scratch is gone at the end.

    Args:
        look: called with the scratch at the point.
        before: called before each step with its name.
        asked: recovery_point, timeline, scratch, checks.
    """
    out = Outcome()
    proof: BackupVerification | None = None
    try:
        proof = BackupVerification(
            params,
            run_id or f"test-{uuid.uuid4().hex[:10]}",
            lambda *progress: None,
            **asked,  # type: ignore[arg-type]
        )
        _walk(proof, out, promote, look, before)
    except RunbookError as problem:
        out.error = problem
    finally:
        if proof is not None:
            if hasattr(proof.selection, "number"):
                out.timeline = proof.selection.number
            proof.clean_up(keep=keep)
    return out


def _walk(
    proof: BackupVerification,
    out: Outcome,
    promote: bool,
    look: Callable[[BackupVerification], Any] | None,
    before: Callable[[BackupVerification, str], None],
) -> None:
    def step(name: str) -> None:
        before(proof, name)

    step("choose")
    out.checks += proof.choose()
    out.limitations += proof.timeline_limitations
    assert proof.target_facts and proof.backup_rows
    step("resolve")
    out.point = proof.resolve()
    out.backup = out.point["backup"]
    assert shown.point_rows(out.point)
    step("check_wal")
    out.checks += proof.check_wal(out.point)
    step("restore")
    proof.restore()
    step("check_manifest")
    out.checks += proof.check_manifest()
    step("isolate")
    proof.isolate()
    step("compare_with_fence")
    out.checks += proof.compare_with_fence()
    step("recover")
    out.facts, seen = proof.recover(promote)
    out.checks += seen
    if look is not None:
        out.seen = look(proof)
    step("check_contents")
    out.checks += proof.check_contents()
    out.limitations += proof.unread_limitations
    step("check_sql")
    out.checks += proof.check_sql()
    if promote:
        step("promote")
        out.checks += proof.promote()
        out.limitations += proof.promoted_limitations
    step("measure")
    out.checks += proof.measure()[1]
    proof.volume_and_sizes()
    assert proof.timing_rows


def prove(cluster: OwnCluster, params: Params | None = None, **asked: Any) -> Outcome:
    """`verify` in the cluster's home, with its params."""
    with at_home(cluster.home):
        return verify(params or cluster.params(), **asked)


def ask(query: str, database: str = "shop") -> Callable[[BackupVerification], Any]:
    """A `look` that asks one question of the scratch and gives the first value."""

    def look(proof: BackupVerification) -> Any:
        assert proof.scratch is not None
        with proof.scratch.connect(database) as connection:
            connection.execute("SET search_path = public, pg_catalog")
            found = connection.execute(query).fetchone()
            return next(iter(found.values())) if found else None

    return look


def assert_passes(outcome: Outcome, seen: Any = 2) -> None:
    """PASS without any alarm, and what was looked at is as expected."""
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], seen)
