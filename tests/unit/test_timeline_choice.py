"""Which timeline is followed, and when people are asked: the server's word, the backups and the archive's evidence, without a server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from runbook.errors import NotMeasured, OperatorError, WalDamaged
from runbook.params.schema import WalArchive as WalArchiveParams
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.settings import target_timeline
from runbook.platforms.cluster.timelinechoice import Choice, choose, question
from runbook.platforms.cluster.timelineevidence import Evidence
from runbook.platforms.cluster.timelines import Histories, ServerTimeline, hold_numbers, parse_number, read_histories
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.wal import Commit, Timeline

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ONE = (Timeline(1, 0, None),)
TWO = (Timeline(1, 0, 500), Timeline(2, 500, None))
GONE = ServerTimeline(None, "no running server was reached")
LATER, EARLIER = Commit(9, 700, NOON + timedelta(hours=1)), Commit(9, 700, NOON - timedelta(hours=1))


def running(number: int) -> ServerTimeline:
    return ServerTimeline(number, "the running server writes it")


def backup(timeline: int, at: datetime | None = NOON) -> Backup:
    return Backup(Path("/nowhere"), f"of {timeline}", "plain", 17, "42", timeline, 100, 110, at, True, False)


def decide(
    server: ServerTimeline,
    *found: Evidence,
    asked: str = "auto",
    backups: Iterable[Backup] = (backup(1),),
    histories: Histories | None = None,
    first: Commit | None = None,
) -> Choice:
    known = {one.number: one for one in found}
    histories = histories or Histories({1: ONE, 2: TWO})
    return choose(
        asked,
        server,
        histories,
        list(backups),
        lambda number, since: known.get(number, Evidence(number)),
        lambda lineage: first,
    )


STRAY = Evidence(2, 1, 500, "no recovery target specified")
WITH_WAL = Evidence(2, 1, 500, "no recovery target specified", ("000000020000000000000001",), LATER)


@pytest.mark.parametrize("other", [STRAY, WITH_WAL])
def test_running_server_decides_whatever_the_archive_holds(other: Evidence) -> None:
    """The archive's newest timeline was followed: a restored copy that was promoted had left it there."""
    choice = decide(running(1), other)
    assert (choice.number, choice.production, choice.is_open, [one.number for one in choice.strays]) == (
        1,
        1,
        False,
        [2],
    )
    assert len(choice.limitations) == 1 and "Timeline 2" in choice.limitations[0]
    assert "left timeline 1 at 0/1F4 (no recovery target specified)" in choice.limitations[0]


def test_server_on_the_later_timeline_is_followed_and_nothing_is_reported() -> None:
    choice = decide(running(2), Evidence(1, segments=("000000010000000000000001",), last=EARLIER), first=LATER)
    assert (choice.number, choice.limitations) == (2, ())


def test_former_primary_that_wrote_on_is_reported() -> None:
    choice = decide(running(2), Evidence(1, segments=("000000010000000000000001",), last=LATER), first=EARLIER)
    assert choice.number == 2 and "former primary was not stopped" in choice.limitations[0]


def test_without_a_server_a_history_alone_is_reported_and_not_followed() -> None:
    choice = decide(GONE, STRAY)
    assert (choice.number, choice.is_open, len(choice.limitations)) == (1, False, 1)


@pytest.mark.parametrize(
    ("found", "is_open"),
    [
        (WITH_WAL, True),
        (Evidence(2, 1, 500, "", ("000000020000000000000001",), EARLIER), False),
        (Evidence(2, 1, 500, "", ("000000020000000000000001",), None), True),
        (Evidence(2, 1, 500, "", ("000000020000000000000001",), None, "not known: damaged"), True),
    ],
    ids=["later commit", "only older commits", "no commit", "not readable"],
)
def test_without_a_server_a_timeline_with_wal_since_the_backup_is_a_question(found: Evidence, is_open: bool) -> None:
    choice = decide(GONE, found)
    assert (choice.number, choice.is_open) == (1, is_open)
    if is_open:
        assert "timeline 2: left timeline 1 at 0/1F4" in question(choice, GONE.why, None)


def test_without_a_server_a_backup_of_the_later_timeline_confirms_it() -> None:
    given_up = Evidence(1, segments=("000000010000000000000001",), last=EARLIER)
    choice = decide(GONE, given_up, backups=[backup(1, NOON - timedelta(days=1)), backup(2)])
    assert (choice.number, choice.is_open, choice.limitations) == (2, False, ())


def test_timeline_that_goes_on_past_the_newest_backup_is_a_question() -> None:
    goes_on = Evidence(1, segments=("000000010000000000000001",), last=LATER)
    choice = decide(GONE, goes_on, backups=[backup(1, NOON - timedelta(days=1)), backup(2)])
    assert (choice.number, choice.is_open) == (2, True)


def test_timeline_asked_for_is_followed_and_what_else_may_be_production_is_known() -> None:
    choice = decide(GONE, WITH_WAL, asked="1")
    assert (choice.number, choice.is_open, [one.number for one in choice.rivals]) == (1, False, [2])
    choice = decide(GONE, WITH_WAL, asked="2")
    assert (choice.number, choice.is_open, [one.number for one in choice.rivals]) == (2, False, [1])


def test_timeline_asked_for_against_the_running_server_is_reported() -> None:
    choice = decide(running(1), WITH_WAL, asked="2")
    assert choice.number == 2 and "the running server writes timeline 1" in choice.limitations[0]


@pytest.mark.parametrize("asked", ["4", "0", "one", "latest", "", "010", "02", "00000002", "\u00b2", "+2", "2.0", "-1"])
def test_unknown_timeline_is_refused(asked: str) -> None:
    """PostgreSQL reads 010 as octal."""
    with pytest.raises(OperatorError, match="no timeline"):
        decide(running(1), asked=asked)


def test_number_is_decimal() -> None:
    assert [parse_number(text) for text in ("1", " 12 ", "4294967296", "0x2", "1_0")] == [1, 12, None, None, None]


def test_damaged_history_of_production_is_damage_and_of_another_timeline_a_limitation() -> None:
    histories = Histories({1: ONE}, {2: "The timeline history 00000002.history in /a is damaged: x."})
    with pytest.raises(WalDamaged, match=r"00000002\.history"):
        decide(running(2), histories=histories)
    choice = decide(running(1), Evidence(2, problem=histories.problems[2]), histories=histories)
    assert choice.number == 1 and "00000002.history in /a is damaged" in choice.limitations[0]


def test_server_on_a_timeline_of_which_nothing_is_archived_yet_is_not_damage() -> None:
    histories = Histories(
        {1: ONE},
        {2: "Timeline 2 has a server, and its history file 00000002.history is missing from /a."},
        missing={2},
    )
    with pytest.raises(NotMeasured, match="writes timeline 2"):
        decide(running(2), Evidence(2, problem=histories.problems[2]), histories=histories)
    with pytest.raises(WalDamaged, match="missing"):
        decide(running(2), Evidence(2, segments=("000000020000000000000001",)), histories=histories)


def archive_of(folder: Path, **files: str) -> WalArchive:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return WalArchive(WalArchiveParams(directory=str(folder)), None)


def test_histories_are_read_and_contradictory_ones_never_reach_a_server(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    archive = archive_of(
        tmp_path / "archive",
        **{"00000002_history": "1\t0/5000000\tx\n", "00000003_history": "1\t0/9000000\tx\n2\t0/5000000\ty\n"},
    )
    found = read_histories(archive, stage, {1})
    assert (sorted(found.lineages), sorted(found.problems)) == ([1, 2], [3])
    assert sorted(path.name for path in stage.iterdir()) == ["00000002.history"]
    hold_numbers(found, stage)
    assert (stage / "00000003.history").read_text().startswith("#"), "the number is not taken again"
    assert sorted(read_histories(archive, stage, {1}).problems) == [3], "the same when it is read again"


def test_backup_whose_history_is_missing_is_followed_as_the_current_one(tmp_path: Path) -> None:
    """PostgreSQL refuses the number of a timeline whose history is missing; `current` works."""
    stage = tmp_path / "stage"
    stage.mkdir()
    found = read_histories(archive_of(tmp_path / "archive"), stage, {2})
    assert (found.lineages[2], found.without_history) == ((Timeline(2, 0, None),), {2})
    choice = decide(running(2), histories=found, backups=[backup(2)])
    assert choice.number == 2 and "00000002.history is missing" in choice.limitations[0]
    hold_numbers(found, stage)
    assert target_timeline(2, stage) == "current"


def test_history_that_is_no_readable_file_or_far_too_long_is_a_problem_and_costs_nothing(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    archive = archive_of(tmp_path / "archive", FFFFFFFF_history="1\t0/5000000\tx\n")
    (tmp_path / "archive" / "00000002.history").mkdir()
    (tmp_path / "archive" / "00000003.history").symlink_to(tmp_path / "nowhere")
    (tmp_path / "archive" / "00000004.history").write_text("#" * (2 << 20))
    found = read_histories(archive, stage, {1})
    assert (sorted(found.lineages), sorted(found.problems)) == ([1, 0xFFFFFFFF], [2, 3, 4])
    hold_numbers(found, stage)
    assert len(list(stage.iterdir())) == 4, "numbers that nobody uses are not held"
    choice = decide(running(1), histories=found)
    assert choice.number == 1 and len(choice.limitations) == 4
