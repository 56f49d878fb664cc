"""What a person does with the ready changes: each file is run by psql as it lies, the undo too, and the look is taken again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homes import at_home
from own_cluster import PORT, OwnCluster
from runbook.health.daily import DailyHealth
from runbook.inspection.changes import Change, make_changes
from runbook.inspection.states import Seen, in_order
from runbook.outside import commands

DATABASE = "shop"


def run_file(cluster: OwnCluster, text: str, database: str = DATABASE) -> None:
    """The file's statements have run, one after the other."""
    path = cluster.home / "change.sql"
    path.write_text(text)
    path.chmod(0o644)
    way = f"host={cluster.socket} port={PORT} user='{cluster.superuser}' dbname='{database}'"
    cluster.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", way, "-f", str(path))


def changes_of(look: DailyHealth) -> list[Change]:
    return make_changes(in_order(seen for one in look.looked for seen in one.seen), look.at)


def schema(cluster: OwnCluster, database: str = DATABASE) -> list[str]:
    """All that is defined in the database, as pg_dump writes it; sorted, since an object that is made again comes later."""
    way = f"host={cluster.socket} port={PORT} user='{cluster.superuser}' dbname='{database}'"
    text = commands.run(
        [cluster.tools.path("pg_dump"), "--schema-only", "-d", way], timeout=120, user=cluster.user
    ).stdout
    return sorted(line for line in text.splitlines() if line.strip() and not line.startswith("\\"))


def found(look: DailyHealth, home: Path) -> dict[str, Seen]:
    with at_home(home):
        look.check()
    assert all(not one.unmeasured for one in look.looked), [one.unmeasured for one in look.looked]
    return {seen.object: seen for one in look.looked for seen in one.findings}


def mend(cluster: OwnCluster, arrive: Any, *, undo: bool = True, again: bool = True) -> dict[str, Seen]:
    """The look's findings, after every change was run and the next look has said fixed.

    With `undo` the changes are taken back, the newest first: the database is defined as it was, and the findings are there again.

    Args:
        arrive: gives a look that has arrived.
        again: False where the undo cannot bring the finding back, such as one that hangs on a counter.
    """
    first = arrive()
    before, findings = schema(cluster), found(first, cluster.home)
    changes = changes_of(first)
    assert len(changes) == len(findings), {name: one.change for name, one in findings.items()}
    for change in changes:
        run_file(cluster, change.up, change.seen.run_in or DATABASE)
    second = arrive()
    assert found(second, cluster.home) == {}
    assert {row["became"] for row in second.compare(first.remember())} <= {"fixed"}
    if undo:
        for change in reversed(changes):
            assert change.down is not None, change.up
            run_file(cluster, change.down, change.seen.run_in or DATABASE)
        assert schema(cluster) == before
        assert not again or set(found(arrive(), cluster.home)) == set(findings)
    return findings
