"""The recovery window without a server: which backup and which timeline may hold a point."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from runbook import clock
from runbook.errors import BackupDamaged, NotMeasured, ParamsError
from runbook.platforms.cluster.backups import Backup, describe, describe_all, list_passed_over
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.window import (
    RecoveryPoint,
    candidates,
    choose_timeline,
    holder_of,
    lineage_of,
    parse_point,
    refuse_before_oldest,
)
from runbook.postgres.wal import Commit, Timeline
from runbook.verification.backup_checks import check_folders, check_newest, limits_of_store

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ONE = (Timeline(1, 0, None),)
TWO = (Timeline(1, 0, 500), Timeline(2, 500, None))
THREE = (Timeline(1, 0, 500), Timeline(2, 500, 900), Timeline(3, 900, None))


def backup(label: str, start: int, *, timeline: int = 1, minutes: int = 0, incremental: bool = False) -> Backup:
    return Backup(
        path=Path("/nowhere") / label,
        label=label,
        layout="plain",
        major=17,
        system_identifier="42",
        timeline=timeline,
        start=start,
        end=start + 10,
        started_at=NOON + timedelta(minutes=minutes),
        has_manifest=True,
        incremental=incremental,
    )


MONDAY, TUESDAY = backup("monday", 100), backup("tuesday", 300, minutes=10)


def labels(found: list[Backup]) -> list[str]:
    return [item.label for item in found]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("latest", ["tuesday", "monday"]),
        (310, ["tuesday", "monday"]),
        (309, ["monday"]),
        (110, ["monday"]),
        (109, []),
        (NOON + timedelta(minutes=10, seconds=1), ["tuesday", "monday"]),
        (NOON + timedelta(minutes=10, milliseconds=999), ["monday"]),
        (NOON + timedelta(minutes=9), ["monday"]),
        (NOON + timedelta(milliseconds=500), []),
        (NOON - timedelta(days=1), []),
    ],
)
def test_newest_backup_that_may_reach_the_point_comes_first(point: str | int | datetime, expected: list[str]) -> None:
    assert labels(candidates([MONDAY, TUESDAY], ONE, point)) == expected


def test_backup_behind_the_branch_of_its_timeline_is_left_out() -> None:
    late = backup("given up", 495)
    own = backup("own", 600, timeline=2)
    stranger = backup("stranger", 600, timeline=3)
    assert labels(candidates([MONDAY, late, own, stranger], TWO, "latest")) == ["own", "monday"]


def test_incremental_backup_is_left_out_and_named_when_it_is_all_there_is() -> None:
    part = backup("part", 300, incremental=True)
    assert labels(candidates([MONDAY, part], ONE, "latest")) == ["monday"]
    assert "pg_combinebackup" in str(refuse_before_oldest("latest", [part], 1))


def test_refusal_names_the_oldest_point_that_can_be_had() -> None:
    said = str(refuse_before_oldest("0/10", [TUESDAY, MONDAY], 1))
    assert "monday" in said and "2026-01-02T12:00:00" in said and "0/6E" in said


FIRST = {2: Commit(1, 500, NOON), 3: Commit(2, 900, NOON + timedelta(hours=1))}


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("latest", 3),
        (100, 3),
        (NOON + timedelta(hours=2), 3),
        (NOON + timedelta(hours=1), 3),
        (NOON + timedelta(minutes=59), 2),
        (NOON, 2),
        (NOON - timedelta(seconds=1), 1),
    ],
)
def test_time_chooses_the_timeline_that_was_live(point: str | int | datetime, expected: int) -> None:
    lineages = {1: ONE, 2: TWO, 3: THREE}
    number, why = choose_timeline(point, 3, lineages, lambda lineage: FIRST[lineage[-1].number])
    assert number == expected and bool(why) == isinstance(point, datetime)


def test_timeline_without_a_commit_is_never_chosen_by_time() -> None:
    number, _ = choose_timeline(NOON, 2, {1: ONE, 2: TWO}, lambda lineage: None)
    assert number == 1


@pytest.mark.parametrize(
    ("position", "expected"), [(0, 1), (499, 1), (500, 1), (501, 2), (900, 2), (901, 3), (10**9, 3)]
)
def test_end_of_replay_lies_on_the_timeline_that_holds_it(position: int, expected: int) -> None:
    """A server told a later timeline would, promoted there, write a history in which positions go backward."""
    held = holder_of(THREE, position)
    assert (held[-1].number, held[-1].end) == (expected, None)


def test_lineage_of_an_older_timeline_is_open_at_its_end() -> None:
    assert lineage_of(2, {3: THREE}) == (Timeline(1, 0, 500), Timeline(2, 500, None))


@pytest.mark.parametrize("gate", [None, 320])
def test_recovery_point_survives_being_written_down(gate: int | None) -> None:
    point = RecoveryPoint("latest", 2, "monday", gate, 310, Commit(7, 300, NOON), None, NOON)
    assert RecoveryPoint.from_facts(point.facts()) == point


@pytest.mark.parametrize(
    ("text", "expected"),
    [("latest", "latest"), ("0/3000060", 0x3000060), ("a/BCDEF", 0xA000BCDEF), ("2026-01-02 13:00:00+01", NOON)],
)
def test_point_is_read_as_written(text: str, expected: object) -> None:
    assert parse_point(text) == expected


@pytest.mark.parametrize("text", ["2026-01-02 12:00:00", "tomorrow", "", "0/", "/1", "0/123456789", "1 fortnight ago"])
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(ParamsError):
        parse_point(text)


def test_future_is_refused() -> None:
    with pytest.raises(ParamsError, match="future"):
        parse_point(clock.stamp(clock.now() + timedelta(minutes=1)))


LABEL = "START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\nSTART TIMELINE: 1\nSTART TIME: {}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2026-01-02 12:00:00 UTC", NOON), ("2026-01-02 12:00:00 CET", None), ("yesterday", None)],
)
def test_label_time_in_an_ambiguous_zone_is_no_time(tmp_path: Path, text: str, expected: datetime | None) -> None:
    (tmp_path / "backup_label").write_text(LABEL.format(text))
    (tmp_path / "PG_VERSION").write_text("17\n")
    found = describe(tmp_path)
    assert (found.started_at, found.start, found.end, found.has_manifest) == (expected, 0x3000028, None, False)


def test_folders_that_are_no_backups_are_named_or_passed_over(tmp_path: Path) -> None:
    for name in ("good", "empty", "half.part", "lost+found", "fences", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "good" / "backup_label").write_text(LABEL.format("2026-01-02 12:00:00 UTC"))
    (tmp_path / "good" / "PG_VERSION").write_text("17\n")
    (tmp_path / "notes" / "readme").write_text("x")
    (tmp_path / "half.part" / "PG_VERSION").write_text("17")
    found, wrong = describe_all(tmp_path)
    assert labels(found) == ["good"]
    assert len(wrong) == 1 and "empty" in wrong[0].message


def test_whatever_else_lies_beside_the_backups_is_named_with_the_reason(tmp_path: Path) -> None:
    for name in (
        "good",
        "half.part",
        "tmp",
        "fences",
        "notes",
        "2026-01-03/night",
        "space/PG_17_202406281",
        "wal",
        "only base/base",
    ):
        (tmp_path / name).mkdir(parents=True)
    for name in ("good", "2026-01-03/night"):
        (tmp_path / name / "backup_label").write_text(LABEL.format("2026-01-02 12:00:00 UTC"))
        (tmp_path / name / "PG_VERSION").write_text("17\n")
    for name in ("half.part", "tmp"):
        (tmp_path / name / "PG_VERSION").write_text("17\n")
    for name in ("notes/readme", "wal/000000010000000000000001", "README", "night.tar.gz", "dump.sql"):
        (tmp_path / name).write_text("x")
    (tmp_path / "newest").symlink_to("gone")
    (tmp_path / "round").symlink_to("round")
    assert list_passed_over(tmp_path, [tmp_path / "wal"]) == [
        "2026-01-03: a base backup lies one level deeper, in night",
        "dump.sql: a file, and no folder with a base backup",
        "half.part: holds files of a base backup, and its name says that it is not finished",
        "newest: a link to gone, which is not there",
        "night.tar.gz: a file, and no folder with a base backup",
        "notes: a folder with none of the files by which a base backup is known",
        "only base: a folder with none of the files by which a base backup is known",
        "round: a link to round, which is not there",
        "tmp: holds files of a base backup, and its name says that it is no backup",
    ]


def test_backup_in_a_form_that_is_not_read_is_named_and_no_damage(tmp_path: Path) -> None:
    for folder, name in (("gpg", "base.tar.gz.gpg"), ("split", "base.tar.aa"), ("tgz", "base.tgz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"\x85\x02")
        (tmp_path / folder / "backup_manifest").write_text("{}")
    with pytest.raises(NotMeasured, match="tgz, which is encrypted, split or packed in a form that is not read"):
        describe_all(tmp_path)
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "PG_VERSION").write_text("17\n")
    (tmp_path / "good" / "backup_label").write_text(LABEL.format("2026-01-02 12:00:00 UTC"))
    found, wrong = describe_all(tmp_path)
    assert (labels(found), wrong) == (["good"], [])
    assert [one.partition(":")[0] for one in list_passed_over(tmp_path)] == ["gpg", "split", "tgz"]


def test_backups_beside_the_files_of_one_are_seen(tmp_path: Path) -> None:
    """The backup folder is a backup itself, and later ones were put into folders of it."""
    (tmp_path / "later").mkdir()
    for folder, start in ((tmp_path, "0/3000028"), (tmp_path / "later", "0/5000028")):
        (folder / "backup_label").write_text(LABEL.format("2026-01-02 12:00:00 UTC").replace("0/3000028", start))
        (folder / "PG_VERSION").write_text("17\n")
        for name in ("base/1", "global", "pg_wal", "pg_xact"):
            (folder / name).mkdir(parents=True)
        (folder / "base/1/PG_VERSION").write_text("17\n")
    found, wrong = describe_all(tmp_path)
    assert (labels(found), wrong) == ([tmp_path.name, "later"], [])
    assert list_passed_over(tmp_path) == []


def test_count_of_backups_says_how_many_folders_are_not_read_as_one() -> None:
    assert check_folders("backups", [MONDAY, TUESDAY], []).observed == "all 2"
    assert check_folders("backups", [MONDAY], [], 2).observed == "all 1, without 2 that are not read as one"


@pytest.mark.parametrize(
    ("other", "word", "is_open"),
    [
        (replace(backup("other", 400, minutes=20), system_identifier="43"), "another system (43)", True),
        (replace(backup("other", 40, minutes=-20), system_identifier="43"), "another system (43)", False),
        (replace(backup("other", 40, minutes=20), system_identifier=None), "begins earlier in WAL", True),
        (backup("other", 290, minutes=20), "begins earlier in WAL", False),
        (backup("other", 400, minutes=20, incremental=True), "incremental", False),
        (backup("other", 600, minutes=20), "timeline 1", False),
        (backup("other", 100, minutes=-10), None, False),
        (backup("other", 250, minutes=10), None, False),
    ],
)
def test_backup_that_is_not_restored_is_named(other: Backup, word: str | None, is_open: bool) -> None:
    chosen = Selection.__new__(Selection)
    chosen.backups, chosen.number, chosen.lineages = [TUESDAY, other], 2, {2: TWO}
    found = chosen.not_proven(TUESDAY)
    assert [(one.backup, one.is_open) for one in found] == ([(other, is_open)] if word else [])
    assert all(word is not None and word in one.why for one in found)
    check = check_newest(TUESDAY, found)
    assert (check.status, "other" in check.observed) == (("UNKNOWN", True) if is_open else ("PASS", False))
    assert [word in said and "other" in said for said in limits_of_store("backups", found, [])] == (
        [True] if word else []
    )


def test_folder_without_backups_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged, match="no base backup"):
        describe_all(tmp_path)
