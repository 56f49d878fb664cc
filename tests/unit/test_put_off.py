"""What could not be read while the copy was paused: nothing of it is forgotten once the copy is promoted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from runbook.errors import PlatformError
from runbook.model import Check, Severity, Status
from runbook.platforms.cluster import scratch
from runbook.recovery.course import Course
from runbook.recovery.execution import Execution, limits_of

HELD = "public.sessions: canceling statement due to lock timeout"


class Memory:
    """A run's memory, and a copy that stands at one point."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def remember(self, name: str, value: Any) -> None:
        self.kept[name] = value

    def recall(self, name: str, default: Any = None) -> Any:
        return self.kept.get(name, default)


class Copy:
    def noted(self, name: str) -> str:
        return name

    def start_promoted(self) -> None:
        pass


class Recovery:
    dry_run = False

    class point:
        @staticmethod
        def facts() -> dict[str, Any]:
            return {"reached": "0/1"}


def execution() -> Execution:
    made = object.__new__(Execution)
    made.course, made.recovery, made._beside = Course(Memory()), cast("Any", Recovery()), cast("Any", Copy())
    return made


def check(name: str, status: Status, reason: str | None = None) -> Check:
    return Check(
        id=name, title=name, status=status, expected="", observed="", severity=Severity.CRITICAL, reason=reason
    )


def test_check_that_was_put_off_and_is_not_made_after_the_promotion_is_unknown() -> None:
    one = execution()
    seen = one.once_a_copy("contents", lambda: [check("read@shop", Status.UNKNOWN, HELD), check("b", Status.PASS)])
    assert [found.id for found in seen.checks] == ["b"]
    assert limits_of(seen)[0].startswith("NOT CHECKED YET") and HELD in limits_of(seen)[0]
    one.once_a_copy("sql", lambda: [check("sql/sessions@shop", Status.UNKNOWN, HELD)])
    asked: list[Check] = []

    def look(waiting: list[Check]) -> list[Check]:
        asked.extend(waiting)
        return [check("read@shop", Status.FAIL, "damaged"), check("b", Status.PASS)]

    found = one.check_put_off(look)
    assert [(item.id, item.reason) for item in asked] == [("read@shop", HELD), ("sql/sessions@shop", HELD)]
    assert [(item.id, item.status) for item in found] == [
        ("read@shop", Status.FAIL),
        ("sql/sessions@shop", Status.UNKNOWN),
    ]
    assert one.check_put_off(lambda waiting: []) == found, "kept for later attempts"
    assert limits_of(seen)[0] in one.limits_until_promotion and len(one.limits_until_promotion) == 2


def test_reading_the_closed_production_may_take_as_long_as_any_check_of_whole_tables() -> None:
    one, asked = execution(), []
    one.verification = cast("Any", SimpleNamespace(check_timeout=4321.0))
    one.live = cast("Any", SimpleNamespace(connect=lambda database, **given: asked.append((database, given))))
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
