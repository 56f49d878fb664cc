"""Catalogs against those of a fence: pure, so every case is a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from runbook.verification.catalogcheck import changed_objects, compare_catalogs, limits_of_fence
from runbook.verification.catalogs import NOT_ALLOWED, CatalogHash, Catalogs
from runbook.verification.fencefile import DatabaseFence

POLICY, PROC = CatalogHash(3, "123", "aa"), CatalogHash(10, "456", "bb")
THEN = Catalogs(
    True, {"pg_policy": POLICY, "pg_proc": PROC}, {"16412": ("public.secret", "7"), "16413": ("public.f", "8")}
)


def fence(catalogs: Catalogs | None) -> DatabaseFence:
    return DatabaseFence("shop", "1:1:", 1, 200, "why", (), (), catalogs)


def now(**changed: CatalogHash | None) -> Catalogs:
    tables = {**THEN.tables, **changed}
    return replace(THEN, tables={name: one for name, one in tables.items() if one is not None})


@pytest.mark.parametrize(
    ("then", "seen", "status", "words"),
    [
        (THEN, THEN, "PASS", []),
        (THEN, replace(now(), tables={**THEN.tables, "pg_new": POLICY}), "PASS", []),
        (THEN, now(pg_policy=replace(POLICY, rows=2)), "FAIL", ["pg_policy", "expected 3 rows", "seen 2 rows"]),
        (THEN, now(pg_policy=replace(POLICY, hash="124")), "FAIL", ["pg_policy", "other contents"]),
        (THEN, now(pg_policy=replace(POLICY, hash="124", how="ab")), "UNKNOWN", ["pg_policy", "other rules"]),
        (THEN, now(pg_policy=None), "UNKNOWN", ["pg_policy", "no such catalog"]),
        (THEN, replace(now(pg_policy=None), unread={"pg_policy": "invalid page in block 0"}), "FAIL", ["invalid page"]),
        (
            THEN,
            replace(now(pg_policy=None), unread={"pg_policy": "canceling statement due to lock timeout"}),
            "UNKNOWN",
            ["pg_policy", "lock timeout"],
        ),
        (
            THEN,
            replace(now(pg_policy=None, pg_proc=replace(PROC, hash="1")), unread={"pg_policy": "lock timeout"}),
            "FAIL",
            [],
        ),
        (replace(THEN, unread={"pg_enum": "out of memory"}), THEN, "UNKNOWN", ["pg_enum", "out of memory"]),
        (replace(THEN, unread={"pg_authid": NOT_ALLOWED}), THEN, "PASS", []),
    ],
)
def test_catalogs_are_compared(then: Catalogs, seen: Catalogs, status: str, words: list[str]) -> None:
    check = compare_catalogs(fence(then), seen, 0.1)
    assert (check.id, check.status) == ("catalogs@shop", status)
    assert [word for word in words if word not in (check.reason or "")] == [], check.reason
    assert "without secrets" in check.expected


def test_objects_that_are_gone_differ_or_are_new_are_named() -> None:
    seen = {"16412": ("public.secret", "9"), "16500": ("public.late", "1")}
    assert changed_objects(THEN, replace(THEN, objects=seen)) == ["public.f", "public.secret", "public.late"]
    check = compare_catalogs(fence(THEN), replace(now(pg_policy=replace(POLICY, rows=2)), objects=seen), 0.1)
    assert "public.f, public.secret, public.late" in (check.reason or "")


def test_what_a_fence_does_not_hold_is_a_limitation() -> None:
    assert limits_of_fence(fence(THEN)) == []
    assert "no hash of its catalogs" in limits_of_fence(fence(None))[0]
    assert "pg_authid" in limits_of_fence(fence(replace(THEN, unread={"pg_authid": NOT_ALLOWED, "pg_enum": "x"})))[0]


def test_catalogs_come_back_from_the_fence_as_they_were() -> None:
    assert Catalogs.from_facts(THEN.facts()) == THEN
