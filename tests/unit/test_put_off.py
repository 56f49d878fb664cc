"""What could not be read while the copy was paused: nothing of it is forgotten once the copy is promoted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from memory import Memory
from runbook.errors import PlatformError
from runbook.model import Check, Severity, Status
from runbook.platforms.cluster import scratch
from runbook.recovery.course import Course
from runbook.recovery.execution import Execution, limits_of
from runbook.recovery.keeping import KeptForCopy

HELD = "public.sessions: canceling statement due to lock timeout"


class Copy:
    def noted(self, name: str) -> str:
        return name


def kept_in(folder: Path) -> KeptForCopy:
    return KeptForCopy(Course(Memory(folder / "memory")), cast("Any", Copy()), "0/1")


def check(name: str, status: Status, reason: str | None = None) -> Check:
    return Check(
        id=name, title=name, status=status, expected="", observed="", severity=Severity.CRITICAL, reason=reason
    )


def test_check_that_was_put_off_and_is_not_made_after_the_promotion_is_unknown(tmp_path: Path) -> None:
    one = kept_in(tmp_path)
    found_paused = [check("read@shop", Status.UNKNOWN, HELD), check("b", Status.PASS)]
    seen = one.checks("contents", lambda: found_paused, at_the_point=True)
    assert [found.id for found in seen.checks] == ["b"]
    assert limits_of(seen)[0].startswith("NOT CHECKED YET") and HELD in limits_of(seen)[0]
    one.checks("sql", lambda: [check("sql/sessions@shop", Status.UNKNOWN, HELD)], at_the_point=True)
    asked: list[Check] = []

    def look(waiting: list[Check]) -> list[Check]:
        asked.extend(waiting)
        return [check("read@shop", Status.FAIL, "damaged"), check("b", Status.PASS)]

    found = one.make_up_for(look)
    assert [(item.id, item.reason) for item in asked] == [("read@shop", HELD), ("sql/sessions@shop", HELD)]
    assert [(item.id, item.status) for item in found] == [
        ("read@shop", Status.FAIL),
        ("sql/sessions@shop", Status.UNKNOWN),
    ]
    assert one.make_up_for(lambda waiting: []) == found, "kept for later attempts"
    assert limits_of(seen)[0] in one.limits_until_promotion and len(one.limits_until_promotion) == 2


def test_reading_the_closed_production_may_take_as_long_as_any_check_of_whole_tables() -> None:
    one, asked = object.__new__(Execution), []
    one.verification = cast("Any", SimpleNamespace(check_timeout=4321.0))
    one.live = cast("Any", SimpleNamespace(connect_reader=lambda database, **given: asked.append((database, given))))
    one.open_damaged("shop")
    assert asked == [("shop", {"statement_timeout": 4321.0})]


def test_copy_whose_socket_is_not_known_is_never_mistaken_for_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(scratch, "connect", lambda **given: asked.append(given))
    copy = scratch.Scratch(tmp_path, "run", cast("Any", SimpleNamespace(major=17)), None, "postgres")
    with pytest.raises(PlatformError, match="its socket is not known"):
        copy.connect("shop")
    assert asked == []
