"""What pg_amcheck prints, told apart by its words."""

from __future__ import annotations

import pytest
from runbook.postgres.causes import Cause
from runbook.verification.amfindings import _cause, parse


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("line pointer redirection to item at offset 5 exceeds maximum offset 3", Cause.DAMAGE),
        ('ERROR:  item order invariant violated for index "i" DETAIL:  Lower index tid=(1,2)', Cause.DAMAGE),
        ('ERROR:  item order invariant violated for index "No space left on device"', Cause.DAMAGE),
        ('ERROR:  heap tuple (0,5) from table "t" lacks matching index tuple within index "i"', Cause.DAMAGE),
        ("ERROR:  invalid page in block 3 of relation base/5/16412", Cause.DAMAGE),
        ('ERROR:  could not open file "base/5/16412": No such file or directory', Cause.DAMAGE),
        ('ERROR:  could not access file "/usr/lib/corrupt_mismatch": No such file or directory', Cause.LIBRARY),
        ('ERROR:  incompatible library "/usr/lib/x.so": version mismatch', Cause.LIBRARY),
        ("ERROR:  canceling statement due to lock timeout", Cause.HELD),
        ("ERROR:  function helper(integer) does not exist", Cause.NAMES),
        ("ERROR:  division by zero", Cause.UNKNOWN),
    ],
)
def test_only_damage_is_called_damage(words: str, cause: Cause) -> None:
    assert _cause(words) is cause


def test_each_object_keeps_its_own_words() -> None:
    report = (
        'btree index "shop.public.b\\xfcro":\n    ERROR:  high key invariant violated\n    DETAIL:  x\n'
        'heap table "shop.public.t", block 1, offset 2, attribute 3:\n    toast value 5 missing\n'
    )
    assert [(item.object, item.observed) for item in parse(report)] == [
        ("shop.public.b\\xfcro", "ERROR:  high key invariant violated DETAIL:  x"),
        ("shop.public.t", "toast value 5 missing"),
    ]
