"""A copy-back that dies between its COMMIT and its note: the next attempt takes nothing of it for somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from generated.cluster import GeneratedCluster, generated_cluster
from generated.scenarios import Scenario
from generated.transactions import Work
from homes import at_home
from runbook.recovery.backing import CopyingBack
from runbook.recovery.copybackplan import NOT_SET_BACK
from runbook.recovery.course import Course
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


def test_attempt_after_the_commit_takes_what_it_wrote_for_its_own(
    cluster: GeneratedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Course.note

    def dying(self: Course, name: str, value: Any) -> None:
        if name == "copied back":
            raise Died
        note(self, name, value)

    course = [Work(["UPDATE task SET v = 'x'"], is_damage=True)]
    with cluster.played(Scenario(list(MADE), [], list(LATE), course, [])) as played:
        monkeypatch.setattr(Course, "note", dying)
        recited = cluster.recover(played, "copy-back", find=False)
        assert isinstance(recited.error, Died)
        monkeypatch.undo()
        cluster.cluster.switch()  # what it wrote is in the archive by now
        with at_home(cluster.cluster.home):
            recovery = PointInTimeRecovery(recited.run, False, recovery_point=played.damages[0].point)
            execution = Execution(recovery)
            seen = CopyingBack(execution).carry_out()
            execution.stop()
        (wrote,) = seen.facts["transactions"].values()
        assert wrote not in {xid for one in recovery.damage for xid in one.xids}
        (row,) = seen.facts["account"]["rows"]
        parts = ("back as before", "back but altered", "changed since by others", "in conflict", "not brought back")
        assert tuple(row[name] for name in parts) == (0, 2999, 0, 1, 0)
        assert seen.facts["account"]["problems"] == []
        assert [one for one in seen.facts["account"]["needs a decision"] if NOT_SET_BACK in one]
    cluster.tidy()
