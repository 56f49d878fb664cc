"""A recovery where the archive holds more than production's timeline: which is followed, who decides, and all that is discarded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copies import leave_stray
from homes import at_home
from own_cluster import OwnCluster, own_cluster
from recovering import ANSWERS, Recovering, figure, suffer
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.selection import Selection
from runbook.postgres import server
from runbook.postgres.wal import WalRecord, history_problem, parse_commit, parse_history, parse_lsn, segment_name
from runbook.postgres.waldump import read_records
from runbook.recovery.identify import Identification
from runbook.recovery.loss import Loss
from runbook.recovery.relnames import NameBook
from runbook.recovery.transactions import RelFile
from runbook.sandbox import backup, traffic
from runbook.sandbox.place import Sandbox
from shop import SEGMENT, Mark, add_mark, fill, flip
from test_faults_timelines import recover_production

pytestmark = [pytest.mark.server, pytest.mark.faults]
VEHICLES = "SELECT count(*) FROM public.vehicles"


def leave_stray_of(sandbox: Sandbox, place: Path) -> None:
    """A restored copy of the sandbox was promoted with production's archive library, and left its timeline in the archive; production
    went on past the fork."""
    fork = figure(sandbox, "SELECT pg_current_wal_lsn()::text")
    traffic.write_burst(sandbox, 9)
    backup.archive_tail(sandbox)
    as_cluster = OwnCluster(sandbox.folder, sandbox.tools, sandbox.user)
    newest = sandbox.newest_backup().name
    into = {"basic_archive.archive_directory": str(sandbox.archive), "port": "5432"}
    leave_stray(as_cluster, place, backup=newest, segments=2, recovery_target_lsn=fork, **into)


def commits_after(sandbox: Sandbox, gate: str) -> set[int]:
    """Transactions of timeline 1 that committed at or after a position, read from the archive alone."""
    names = sorted(
        path.name for path in sandbox.archive.iterdir() if path.name.startswith("00000001") and len(path.name) == 24
    )
    end = (int(names[-1][8:16], 16) << 32) + (int(names[-1][16:], 16) + 1) * SEGMENT
    found = set()
    for item in read_records(
        sandbox.tools, sandbox.archive, 1, parse_lsn(gate), end, rmgrs=("Transaction",), timeout=60
    ):
        commit = parse_commit(item) if isinstance(item, WalRecord) else None
        if commit is not None:
            found.add(commit.xid)
    return found


def test_stray_timeline_is_not_followed_and_all_that_is_lost_is_counted(live_home: Path) -> None:
    """`auto` followed the stray: 6 discarded transactions were announced, 15 were lost, and the verdict was PASS."""
    sandbox, truth = suffer()
    leave_stray_of(sandbox, live_home / "copy")
    damaged = figure(sandbox, VEHICLES)
    recovery = Recovering()
    first = recovery.start()
    assert any("Timeline 2 in the archive was not followed" in one for one in first.record["limitations"])
    gate = first.record["facts"]["recovery_point"]["gate"]
    expected = commits_after(sandbox, gate) - {int(truth["xid"])}
    loss = first.record["facts"]["loss"]
    assert (loss["transactions"], [one["timeline"] for one in loss["timelines"]]) == (len(expected), [1])
    last = recovery.go_on(first)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    facts = last.record["facts"]
    assert (facts["recovery_point"]["timeline"], str(facts["damage"]["first_left_out"])) == (1, truth["xid"])
    table = facts["loss"]["tables"]["public.vehicles"]
    assert figure(sandbox, VEHICLES) == damaged + table["damage"]["deleted"] - table["others"]["inserted"]
    histories = {path.name: path.read_text() for path in sandbox.archive.glob("*.history")}
    assert sorted(histories) == ["00000002.history", "00000003.history"]
    assert history_problem(3, histories["00000003.history"]) is None
    assert [one.number for one in parse_history(3, histories["00000003.history"])] == [1, 3]


def test_without_a_server_the_timeline_is_an_operators_decision(live_home: Path) -> None:
    sandbox, truth = suffer()
    leave_stray_of(sandbox, live_home / "copy")
    server.stop(sandbox.tools, sandbox.data, user=sandbox.user, mode="immediate")
    dry = Recovering({"dry_run": "true"}).start()
    assert any("Which timeline is production's is not known" in one for one in dry.record["limitations"]), dry.stdout
    recovery = Recovering({**ANSWERS, "way": ""})
    waiting = recovery.start()
    assert (waiting.code, waiting.last["verdict"]) == (3, "WAITING"), waiting.stdout + waiting.stderr
    assert "decide-which-timeline-is-followed" in waiting.last["next"]
    assert "timeline 2: left timeline 1 at" in waiting.last["reason"] and "evidence only" in waiting.last["reason"]
    said = recovery.say("answer", recovery.run, "decide-which-timeline-is-followed", "1", "--reason", "asked the team")
    assert said.code == 0, said.stdout + said.stderr
    waiting = recovery.go_on(recovery.resume())
    assert (waiting.code, "choose-the-way-on" in waiting.last["next"]) == (3, True), waiting.stdout + waiting.stderr
    facts = waiting.record["facts"]
    assert (facts["recovery_point"]["timeline"], str(facts["damage"]["first_left_out"])) == (1, truth["xid"])
    assert sorted(one["timeline"] for one in facts["loss"]["timelines"]) == [1, 2], "either may be production's"
    assert any("Timeline 2 may be production's, too" in one for one in waiting.record["limitations"])


@pytest.fixture(scope="module")
def forked() -> Any:
    """Marks 1 to 4 on timeline 1; production went back to before mark 3, and on along timeline 2 with marks 5 to 7."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        found = {}
        for number in (1, 2, 3, 4):
            found[number] = add_mark(cluster, number)
        cluster.switch()
        recover_production(cluster, found[3].before)
        for number in (5, 6, 7):
            found[number] = add_mark(cluster, number)
        cluster.switch()
        yield cluster, found


@pytest.mark.parametrize(
    ("timeline", "mark", "expected"),
    [
        ("auto", 6, {2: 2}),
        ("auto", 2, {2: 4}),
        ("1", 4, {2: 3, 1: 1}),
        ("1", 2, {2: 4, 1: 2}),
        ("2", 2, {2: 4}),
    ],
)
def test_loss_is_counted_on_every_timeline_that_the_point_cuts_off(
    forked: tuple[OwnCluster, dict[int, Mark]], tmp_path: Path, timeline: str, mark: int, expected: dict[int, int]
) -> None:
    """A point on timeline 1 announced nothing of what production had written on timeline 2."""
    cluster, marks = forked
    loss = count(cluster, tmp_path, timeline, marks[mark].before)
    assert {one.timeline: one.transactions for one in loss.lines} == expected
    facts = loss.facts()
    assert (facts["transactions"], facts["missed"]) == (sum(expected.values()), [])
    assert str(facts["last"]["at"]) >= str(facts["first"]["at"])


def test_number_that_two_timelines_gave_to_two_tables_names_each_its_own(tmp_path: Path) -> None:
    """The loss on timeline 1 was counted with the names of timeline 2: 'orders' became 'scratchpad'."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        marks = [add_mark(cluster, number) for number in (1, 2)]
        number = "SELECT pg_relation_filenode('{}')"
        # A recovery skips the numbers that were set aside: past these both timelines give out the same ones.
        cluster.sql("SELECT count(lo_create(0)) FROM generate_series(1, 9000)", database="shop")
        cluster.sql("CREATE TABLE orders AS SELECT generate_series(1, 30) AS id", database="shop")
        wanted = int(cluster.sql(number.format("orders"), database="shop")[0][0])
        cluster.switch()
        recover_production(cluster, marks[1].before)
        given = int(cluster.sql("SELECT lo_create(0)", database="shop")[0][0])
        cluster.sql(f"SELECT count(lo_create(0)) FROM generate_series(1, {wanted - given - 1})", database="shop")
        cluster.sql("CREATE TABLE scratchpad AS SELECT generate_series(1, 4) AS id", database="shop")
        assert int(cluster.sql(number.format("scratchpad"), database="shop")[0][0]) == wanted
        cluster.switch()
        shop = int(cluster.sql("SELECT oid FROM pg_database WHERE datname = 'shop'")[0][0])
        file, titles = RelFile(1663, shop, wanted), []
        found = [
            count(cluster, tmp_path, timeline, marks[1].before, look=lambda names: titles.append(names.title(file)))
            for timeline in ("2", "1")
        ]
        cluster.stop()  # then either timeline may be production's
        found.append(
            count(cluster, tmp_path, "auto", marks[1].before, look=lambda names: titles.append(names.title(file)))
        )
    expected = {2: {"public.scratchpad": 4}, 1: {"public.orders": 30}}
    for loss in found:
        said = {line.timeline: made(line) for line in loss.lines}
        assert said == {line: expected[line] for line in said}
    assert [len(loss.lines) for loss in found] == [1, 2, 2]
    followed = next(iter(expected[found[-1].timeline]))
    assert titles == ["public.scratchpad", "public.orders", followed], (
        "each stays what it is where the damage was looked for"
    )


def made(loss: Loss) -> dict[str, int]:
    """Rows inserted, by table, without marks and large objects."""
    return {title: table.others.inserted for title, table in loss.tables.items() if table.others.inserted in (4, 30)}


def test_line_that_cannot_be_read_is_named_and_the_rest_is_counted(
    forked: tuple[OwnCluster, dict[int, Mark]], tmp_path: Path
) -> None:
    cluster, marks = forked
    segment = cluster.archive / segment_name(1, parse_lsn(marks[4].before), SEGMENT)
    whole = segment.read_bytes()

    def damage() -> None:
        flip(segment, parse_lsn(marks[4].before) % SEGMENT + 30)

    try:
        loss = count(cluster, tmp_path, "1", marks[4].before, damage)
    finally:
        segment.write_bytes(whole)
    assert {one.timeline: one.transactions for one in loss.lines} == {2: 3}
    assert len(loss.uncounted) == 1 and "timeline 1 was not counted" in loss.uncounted[0]


def count(
    cluster: OwnCluster,
    folder: Path,
    timeline: str,
    point: str,
    before: Callable[[], None] = lambda: None,
    look: Callable[[NameBook], None] = lambda names: None,
) -> Loss:
    folder.chmod(0o755)
    with at_home(cluster.home):
        params = cluster.params()
        assert params.cluster is not None
        of = params.cluster
        identification = Identification(
            lambda asked: Selection(of, cluster.user, asked, timeline, 60),
            LiveServer(of, "test"),
            folder / "search",
            lambda *seen: None,
            look_back=3600,
            timeout=60,
        )
        identification.look()
        identification.search()
        found = identification.resolve(point).point
        before()
        loss = identification.count_loss(found, [])
        assert identification.evidence is not None
        look(identification.evidence.names)
        identification.clean_up()
    return loss
