"""Health without a server: check files, states, the trend, the files of changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from runbook.errors import ParamsError
from runbook.health.rates import keep_statements, rates
from runbook.health.trend import compare, exhaustion, remember
from runbook.inspection.changes import make_changes, write_changes
from runbook.inspection.checkfiles import for_version, load_files, parse_file, select_files
from runbook.inspection.looking import judge
from runbook.inspection.states import Looked, Seen, State, as_check, in_order
from runbook.model import Status
from runbook.params.schema import Threshold

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = (
    "-- purpose: x\n-- scope: cluster\n-- unit: MiB\n-- rank: 3\n-- any: warning\nSELECT 'a' AS object, 1.0 AS value\n"
)


def seen(name: str, state: State = State.WARNING, value: float | None = 5.0, **given: object) -> Seen:
    fields = {"check": "swollen", "rank": 5, "database": "shop", "unit": "%", "limit": 4.0, "note": "", **given}
    return Seen(object=name, state=state, value=value, **fields)  # type: ignore[arg-type]


def looked(*found: Seen, name: str = "swollen", exhausts: float | None = None) -> Looked:
    return Looked(
        "health", name, "No swelling", 5, "shop", "below 4 %", found, 0.1, "mend it", "sql/health/x.sql", exhausts
    )


def write(folder: Path, text: str, name: str = "check.sql") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("scope: cluster", "scope: clutser", "did you mean 'cluster'"),
        ("any: warning", "any: awful", "'warning' or 'critical'"),
        ("any: warning", "warning: most", "no threshold 'most'"),
        ("any: warning", "why: x", "neither or both"),
        ("rank: 3", "rank: soon", "rank"),
        ("1.0 AS value", ":most AS value", "no threshold 'most'"),
        ("-- rank: 3", "-- rank: 3\n-- threshold: most = 5", "most = 5"),
    ],
)
def test_broken_check_file_is_refused_with_its_name(tmp_path: Path, old: str, new: str, says: str) -> None:
    parse_file(write(tmp_path, GOOD))
    with pytest.raises(ParamsError) as problem:
        load_files(write(tmp_path, GOOD.replace(old, new)).parent)
    assert says in str(problem.value) and "check.sql" in str(problem.value)


def test_new_check_is_one_new_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "mine.sql")
    assert [file.name for file in load_files(tmp_path)] == ["mine"]


def test_variant_takes_the_place_from_its_version_on(tmp_path: Path) -> None:
    for name in ("a.sql", "a_post_160000.sql", "a_post_180000.sql", "b_post_180000.sql"):
        write(tmp_path, GOOD, name)
    chosen = {
        number: [file.sql.path.stem for file in for_version(load_files(tmp_path), number)]
        for number in (150004, 170002)
    }
    assert chosen == {150004: ["a"], 170002: ["a_post_160000"]}


def test_every_shipped_threshold_says_its_source() -> None:
    assert all(limit.source for file in load_files("health") for limit in file.thresholds.values())


@pytest.mark.parametrize(("wanted", "override"), [("swollen_tables", "x"), ("all", "no_such_threshold")])
def test_name_that_does_not_exist_is_refused(wanted: str, override: str) -> None:
    with pytest.raises(ParamsError, match="swollen_tables" if wanted != "all" else "no_such_threshold"):
        select_files(load_files("health"), wanted, (), {override: Threshold(value=1, source="me")})


@pytest.mark.parametrize(
    ("value", "unmeasured", "state"),
    [
        (1.0, None, State.OK),
        (70.0, None, State.WARNING),
        (90.0, None, State.CRITICAL),
        (None, None, State.NOT_MEASURED),
        (float("nan"), None, State.NOT_MEASURED),
        (float("inf"), None, State.NOT_MEASURED),
        (99.0, "no privilege", State.NOT_MEASURED),
    ],
)
def test_row_without_a_figure_is_never_ok(value: float | None, unmeasured: str | None, state: State) -> None:
    file = next(file for file in load_files("health") if file.name == "sequence_exhaustion")
    row = {"object": "s", "value": value, "note": "", "unmeasured": unmeasured}
    assert judge(file, "shop", row, file.thresholds).state is state


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("long_transactions", -3600.0, State.NOT_MEASURED),
        ("long_transactions", -30.0, State.OK),
        ("backup_age", -4391.97, State.NOT_MEASURED),
        ("sequence_exhaustion", -3600.0, State.OK),
    ],
)
def test_time_after_the_servers_clock_is_not_measured(name: str, value: float, state: State) -> None:
    file = next(file for file in load_files("health") if file.name == name)
    found = judge(file, None, {"object": "o", "value": value, "note": "", "unmeasured": None}, file.thresholds)
    assert found.state is state
    assert state is State.OK or "a clock is or was wrong" in found.note


def test_what_was_not_measured_is_unknown_also_beside_what_is_ok() -> None:
    blind = seen("b", State.NOT_MEASURED, None, note="no privilege")
    assert as_check(looked(seen("a", State.OK, 1), blind), State.CRITICAL).status is Status.UNKNOWN
    assert as_check(looked(seen("a"), blind), State.CRITICAL).status is Status.UNKNOWN
    assert as_check(looked(seen("a", State.CRITICAL), blind), State.CRITICAL).status is Status.FAIL


def test_warning_fails_only_when_asked_and_is_a_finding_either_way() -> None:
    lenient, strict = as_check(looked(seen("a")), State.CRITICAL), as_check(looked(seen("a")), State.WARNING)
    assert (lenient.status, strict.status) == (Status.PASS, Status.FAIL)
    assert len(lenient.findings) == len(strict.findings) == 1


def test_first_is_what_is_critical_then_what_ranks_first_then_the_largest() -> None:
    found = [
        seen("late", rank=9),
        seen("small", value=6),
        seen("large", value=7),
        seen("worst", State.CRITICAL, rank=9),
    ]
    assert [one.object for one in in_order(found)] == ["worst", "large", "small", "late"]


def test_trend_tells_new_worse_the_same_and_fixed() -> None:
    before = remember([looked(seen("same"), seen("worse"), seen("gone"))], AT)
    now = [looked(seen("same", value=5.1), seen("worse", value=9), seen("new"))]
    assert {row["object"]: row["became"] for row in compare(now, before)} == {
        "same": "the same",
        "worse": "worse",
        "new": "new",
        "gone": "fixed",
    }


def test_finding_of_a_check_that_is_blind_now_is_not_called_fixed() -> None:
    before = remember([looked(seen("gone"))], AT)
    now = [looked(seen("all", State.NOT_MEASURED, None, note="no privilege"))]
    assert [row["became"] for row in compare(now, before)] == ["not measured now"]


def test_finding_of_a_check_that_was_blind_before_is_not_called_new() -> None:
    before = remember([looked(seen("all", State.NOT_MEASURED, None))], AT)
    assert [row["became"] for row in compare([looked(seen("a"))], before)] == ["seen for the first time"]
    assert [row["became"] for row in compare([looked(seen("a"))], None)] == ["seen for the first time"]


@pytest.mark.parametrize(("before", "days"), [(80.0, 5.0), (90.0, None), (95.0, None), (None, None)])
def test_days_to_exhaustion_are_a_straight_line_or_nothing(before: float | None, days: float | None) -> None:
    earlier = [looked(seen("s", State.OK, before), exhausts=100)] if before is not None else []
    now = [looked(seen("s", value=90), exhausts=100)]
    row = exhaustion(now, remember(earlier, AT), AT + timedelta(days=5))[0]
    assert row["days"] == days
    assert ("straight line" in row["how"]) == (days is not None)


def test_name_with_a_line_break_does_not_become_a_statement(tmp_path: Path) -> None:
    evil = seen(
        '"a\nDROP TABLE t; --"', change="REINDEX INDEX CONCURRENTLY x;", note="b\nDROP TABLE t;", undo="SELECT 1;"
    )
    changes = make_changes([evil, seen("without")], AT)
    write_changes(changes, tmp_path / "changes")
    write_changes(changes, tmp_path / "changes")
    names = sorted(path.name for path in (tmp_path / "changes").iterdir())
    stem = "20261124120000_swollen_a_drop_table_t"
    assert names == [f"{stem}.sql", f"{stem}.undo.sql"]
    for line in changes[0].up.splitlines():
        assert line.startswith("--") or line in ("SET lock_timeout = '5s';", "REINDEX INDEX CONCURRENTLY x;")
    assert "no transaction" in changes[0].up


def test_statements_are_kept_as_the_server_says_them() -> None:
    """A figure that was rounded up looks later like counters that went back, and the earlier look is left out."""
    taken = [{"key": "1", "calls": 5, "milliseconds": 408.65371999999996, "text": "SELECT 1"}]
    assert keep_statements(taken, AT)["taken"] == {"1": [5, 408.65371999999996]}


def test_counter_that_was_reset_has_no_rate() -> None:
    names = ("transactions", "blocks_hit", "blocks_read", "rows_changed", "temporary_bytes", "deadlocks")
    first = {"at": AT, "wal_bytes": None, **dict.fromkeys(names, 100.0)}
    second = {
        "at": AT + timedelta(seconds=10),
        "wal_bytes": None,
        **dict.fromkeys(names, 100.0),
        "transactions": 150.0,
        "rows_changed": 3.0,
    }
    found = {row["what"]: row["value"] for row in rates(first, second)}
    assert (found["Transactions"], found["Rows changed"], found["WAL"]) == (5.0, None, None)
    assert found["Blocks found in shared_buffers"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('ALTER TABLE "VACUUM"."CONCURRENTLY; --" VALIDATE CONSTRAINT c;', "transaction: one"),
        ("-- VACUUM does not help\nDROP INDEX i;", "transaction: one"),
        ('DROP INDEX CONCURRENTLY "a""b";', "no transaction"),
    ],
)
def test_words_in_names_and_comments_do_not_decide_about_the_transaction(change: str, says: str) -> None:
    (made,) = make_changes([seen("x", change=change)], AT)
    assert f"-- {says}" in made.up


def test_change_says_in_which_database_it_is_to_run() -> None:
    changes = make_changes([seen("x", change="VACUUM;", database=None, run_in="a\nb"), seen("x", change="VACUUM;")], AT)
    assert ["-- database: a b\n" in changes[0].up, "-- database: shop\n" in changes[1].up] == [True, True]
