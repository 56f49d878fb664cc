"""Every incident that the sandbox offers, against a verification: none that damages a backup or its WAL passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from proof import Outcome, ask, verify
from runbook import clock
from runbook.params import load_params
from runbook.sandbox.incidents import apply_incident, find_incidents
from runbook.sandbox.incidents.many_subtransactions import held_open
from runbook.sandbox.place import need_sandbox
from runbook.verification.fence import take_fence

pytestmark = [pytest.mark.server, pytest.mark.faults]


def segment(truth: dict[str, Any]) -> str:
    return Path(truth["where"].split(",")[0]).name


def file_of_backup(truth: dict[str, Any]) -> str:
    path = truth["where"].split(",")[0]
    return path.split("/backups/")[1].split("/", 1)[1]


#: Which check or error tells, and a word of what it says, by incident.
ON_FILES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "backup-label-gone": ("manifest", lambda truth: "backup_label"),
    "heap-bit-flip": ("manifest", file_of_backup),
    "heap-file-missing": ("manifest", file_of_backup),
    "heap-page-zeroed": ("manifest", file_of_backup),
    "heap-pages-swapped": ("manifest", file_of_backup),
    "index-bit-flip": ("manifest", file_of_backup),
    "manifest-gone": ("manifest", lambda truth: "backup_manifest"),
    "pg-control-gone": ("manifest", lambda truth: "pg_control"),
    "wal-bad-header": ("WalDamaged", segment),
    "wal-bit-flip": ("WalDamaged", segment),
    "wal-gap": ("WalDamaged", segment),
    "wal-gap-before-end": ("WalDamaged", segment),
    "wal-swapped": ("WalDamaged", lambda truth: "place"),
    "wal-truncated": ("WalDamaged", segment),
    "wal-zeroed-tail": ("WalDamaged", segment),
}
ON_THE_LIVING = {
    "bad-update", "delete-vehicles", "drop-table", "inherited-target", "invalid-index", "many-subtransactions",
    "orphan-vehicles", "raise-max-connections", "second-timeline", "stop-archiver", "tablespace-after-backup",
    "truncate",
}  # fmt: skip


def test_every_incident_is_tried_here() -> None:
    assert ON_FILES.keys() | ON_THE_LIVING == find_incidents().keys()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", sorted(ON_FILES))
def test_damaged_files_are_named(damaged_home: Path, kind: str, seed: int) -> None:
    truth = apply_incident(kind, seed)
    outcome = verify(load_params("sandbox"))
    by, word = ON_FILES[kind]
    assert outcome.verdict == ("INCOMPLETE" if kind == "manifest-gone" else "FAIL"), outcome.alarms
    if by == "WalDamaged":
        assert type(outcome.error).__name__ == by, outcome.alarms
    else:
        assert outcome.check(by).status != "PASS"
    assert word(truth) in outcome.said


def after(kind: str, **asked: Any) -> tuple[dict[str, Any], Outcome]:
    truth = apply_incident(kind)
    return truth, verify(load_params("sandbox"), **asked)


def test_orphaned_vehicles_fail_their_check(live_home: Path) -> None:
    _, outcome = after("orphan-vehicles")
    assert outcome.verdict == "FAIL" and outcome.check("sql/orphaned_vehicles@dealerscope").status == "FAIL"


def test_invalid_index_of_production_is_named_and_no_failure_of_the_restore(live_home: Path) -> None:
    truth, outcome = after("invalid-index")
    check = outcome.check("sql/indexes_valid@dealerscope")
    assert (outcome.verdict, check.status) == ("PASS", "PASS")
    assert str(truth["where"]).split(".")[-1] in check.observed and "as production has it" in check.observed


def test_tablespace_made_after_the_backup_is_refused(live_home: Path) -> None:
    _, outcome = after("tablespace-after-backup")
    assert type(outcome.error).__name__ == "RecoveryRefused" and "tablespace" in outcome.said


@pytest.mark.parametrize("kind", ["raise-max-connections", "inherited-target"])
def test_inherited_settings_are_harmless(live_home: Path, kind: str) -> None:
    apply_incident(kind)
    if kind == "inherited-target":
        take_fence(load_params("sandbox"))  # the newest backup is younger than the first fence
    outcome = verify(load_params("sandbox"))
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])


def test_second_timeline_is_told_from_the_first(live_home: Path) -> None:
    truth = apply_incident("second-timeline")
    dealers = ask(
        "SELECT array_agg(name ORDER BY name) FROM dealers WHERE name ~ '^(kept|given up|new) '", "dealerscope"
    )
    names = truth["dealers"]
    latest = verify(load_params("sandbox"), look=dealers)
    assert (latest.verdict, latest.timeline) == ("PASS", 2), latest.alarms
    assert latest.seen == sorted([names["kept"], names["new"]])
    # Nothing was committed on timeline 1 behind that moment; just before its last commit all is proven.
    refused = verify(load_params("sandbox"), recovery_point=truth["given_up_at"])
    assert refused.timeline == 1 and "a time before" in refused.said
    last = clock.parse(refused.said.partition("a time before ")[2].split(". ")[0])
    early = verify(load_params("sandbox"), recovery_point=clock.stamp(last - timedelta(microseconds=1)), look=dealers)
    assert (early.verdict, early.timeline) == ("PASS", 1), early.alarms
    assert early.seen == sorted([names["kept"], names["given_up"]])


def test_open_subtransactions_never_promote_unasked(live_home: Path) -> None:
    with held_open(need_sandbox()) as truth:
        outcome = verify(load_params("sandbox"), recovery_point=truth["open_at_lsn"])
    assert outcome.verdict == "INCOMPLETE" and "64" in outcome.said


def test_stopped_archiver_is_seen_by_the_exposure(live_home: Path) -> None:
    apply_incident("stop-archiver")
    params = load_params("sandbox")
    strict = params.model_copy(update={"budgets": params.budgets.model_copy(update={"rpo": 0.5})})
    outcome = verify(strict)
    assert outcome.check("rpo").status == "FAIL" and "pg_stat_archiver" in outcome.said


@pytest.mark.parametrize("kind", ["bad-update", "delete-vehicles", "drop-table", "truncate"])
def test_what_people_did_is_restored_as_it_was_before_and_after(live_home: Path, kind: str) -> None:
    """A restore is faithful: to the deed at latest, and to the moment before it when asked for that."""
    truth = apply_incident(kind)
    position = next(truth[key] for key in ("before_lsn", "lsn_before", "before", "commit_lsn", "lsn") if key in truth)
    outcome = verify(load_params("sandbox"), recovery_point=str(position))
    assert outcome.verdict == "PASS", outcome.alarms
