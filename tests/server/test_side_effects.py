"""What a promotion empties, and collations of another version, are read from every database of a copy."""

from __future__ import annotations

import pytest
from crime import scene
from runbook.recovery.sideeffects import read_side_effects

pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_unlogged_relations_and_other_collation_versions_are_named() -> None:
    with scene(
        "CREATE UNLOGGED TABLE cache AS SELECT generate_series(1, 1200) AS id",
        'CREATE UNLOGGED SEQUENCE "my numbers"',
        "CREATE TABLE kept (id int)",
    ) as crime:
        assert read_side_effects(crime.open)[0].collations == []
        with crime.cluster.connect("shop") as connection:
            connection.execute("UPDATE pg_collation SET collversion = '0' WHERE collname = 'pg_c_utf8'")
        found, missed = read_side_effects(crime.open)
        assert missed == []
        assert found.emptied_words() == [
            'Unlogged table shop: "public"."cache" (about 1,200 rows) is empty after a recovery: its content is in no WAL',
            'Unlogged sequence shop: "public"."my numbers" (about 1 row) is reset after a recovery: its content is in no WAL',
        ]
        assert [row["object"] for row in found.rows()] == ['shop: "public"."cache"', 'shop: "public"."my numbers"']
        (said,) = found.collation_words()
        assert said.startswith("Database shop: 1 collation has another version here") and "made with 0, here 1" in said
