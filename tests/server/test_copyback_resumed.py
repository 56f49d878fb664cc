"""A copy-back that dies: the next attempt takes nothing of it for somebody else's, and does what was approved, no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from generated.cluster import GeneratedCluster, Played, generated_cluster
from generated.notebook import NotebookRun
from generated.scenarios import Scenario
from generated.transactions import Work
from homes import at_home
from runbook.errors import OperatorError
from runbook.model import Status
from runbook.recovery.backing import CopyingBack
from runbook.recovery.copybackplan import NOT_SET_BACK
from runbook.recovery.course import Course, Seen
from runbook.recovery.execution import Execution
from runbook.recovery.pitr import PointInTimeRecovery

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE TABLE task (id int PRIMARY KEY, v text, changes int)",
    "INSERT INTO task SELECT g, 'v', 0 FROM generate_series(1, 3000) AS g",
    "CREATE FUNCTION touching() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
    "IF OLD.id = 7 THEN RAISE 'not this one'; END IF; NEW.changes := OLD.changes + 1; RETURN NEW; END$$",
)
LATE = ("CREATE TRIGGER touched BEFORE UPDATE ON task FOR EACH ROW WHEN (OLD.v = 'x') EXECUTE FUNCTION touching()",)


class Died(Exception):
    """As if by kill -9."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[GeneratedCluster]:
    with generated_cluster() as one:
        yield one


def recover_until(
    cluster: GeneratedCluster, played: Played, monkeypatch: pytest.MonkeyPatch, noted: str
) -> NotebookRun:
    """A run that dies where it would note something."""
    note = Course.note

    def dying(self: Course, name: str, value: Any) -> None:
        if name == noted:
            raise Died
        note(self, name, value)

    with monkeypatch.context() as patched:
        patched.setattr(Course, "note", dying)
        recited = cluster.recover(played, "copy-back", find=False)
    assert isinstance(recited.error, Died)
    return recited.run


def go_on(cluster: GeneratedCluster, played: Played, run: NotebookRun) -> tuple[PointInTimeRecovery, Seen]:
    """Another attempt of the copy-back."""
    with at_home(cluster.cluster.home):
        recovery = PointInTimeRecovery(run, False, recovery_point=played.damages[0].point)
        execution = Execution(recovery)
        try:
            return recovery, CopyingBack(execution).carry_out()
        finally:
            execution.stop()


def scenario(*damage: str, made: tuple[str, ...] = (), late: tuple[str, ...] = ()) -> Scenario:
    return Scenario([*MADE, *made], [], list(late), [Work(list(damage), is_damage=True)], [])


def test_attempt_after_the_commit_takes_what_it_wrote_for_its_own(
    cluster: GeneratedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.played(scenario("UPDATE task SET v = 'x'", late=LATE)) as played:
        run = recover_until(cluster, played, monkeypatch, "copied back")
        cluster.cluster.switch()  # what it wrote is in the archive by now
        recovery, seen = go_on(cluster, played, run)
        (wrote,) = seen.facts["transactions"].values()
        assert wrote not in {xid for one in recovery.damage for xid in one.xids}
        (row,) = seen.facts["account"]["rows"]
        parts = ("back as before", "back but altered", "changed since by others", "in conflict", "not brought back")
        assert tuple(row[name] for name in parts) == (0, 2999, 0, 1, 0)
        assert seen.facts["account"]["problems"] == []
        assert [one for one in seen.facts["account"]["needs a decision"] if NOT_SET_BACK in one]
    cluster.tidy()


def test_attempt_does_no_more_than_what_was_approved(
    cluster: GeneratedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.played(scenario("DELETE FROM task WHERE id <= 10")) as played:
        run = recover_until(cluster, played, monkeypatch, "copy-back from")
        cluster.cluster.sql("ALTER TABLE task ADD more text DEFAULT 'x'", database=played.database)
        with pytest.raises(OperatorError, match="another one than when this was planned"):
            go_on(cluster, played, run)
        assert cluster.cluster.sql("SELECT count(*) FROM task", database=played.database) == [(2990,)]
    cluster.tidy()


def test_what_stays_by_decision_is_the_accounts_and_can_pass(cluster: GeneratedCluster) -> None:
    made = (
        "CREATE TABLE ruled (id int PRIMARY KEY)",
        "INSERT INTO ruled SELECT generate_series(1, 10)",
        "CREATE RULE nothing AS ON INSERT TO ruled DO INSTEAD NOTHING",
    )
    with cluster.played(scenario("DELETE FROM ruled", "DELETE FROM task", made=made)) as played:
        recited = cluster.recover(played, "copy-back")
    cluster.tidy()
    checks = {one.id: one for one in recited.run.checks}
    account = checks["recovery-account"]
    assert (account.status, "public.ruled: 10 not brought back" in str(account.reason)) == (Status.PASS, True)
    assert (checks["recovery-copied-back"].status, recited.verdict) == (Status.PASS, "PASS")
