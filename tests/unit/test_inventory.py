"""The inventory without a server: what differs, what cannot be compared, and the file that people approve."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, strategies
from runbook.errors import ParamsError
from runbook.inventory.differences import compare, not_comparable
from runbook.inventory.items import Inventory, Kinds
from runbook.inventory.listfile import AccessList, read_list
from runbook.inventory.reading import as_items, load_kinds

BEFORE = Inventory(
    {"roles": {"ann": {"login": "true"}, '"B ""ob"': {"login": "false"}}},
    {"shop": {"grants": {"table t to ann": {"privileges": "SELECT"}}}},
    {},
)


def a_list(inventory: Inventory = BEFORE) -> AccessList:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    return AccessList(
        target="billing", system_identifier="7", made_at=at, made_by=("olaf",), run="r", server=inventory.server,
        databases=inventory.databases, unseen=inventory.unseen,
    )  # fmt: skip


def test_new_gone_and_changed_are_told_apart() -> None:
    now = Inventory(
        {"roles": {"ann": {"login": "false"}, "carl": {"login": "true"}}},
        {"shop": {"grants": {"table t to ann": {"privileges": "SELECT"}}}},
        {},
    )
    assert [(str(one.became), one.name, one.said) for one in compare(BEFORE, now)] == [
        ("gone", '"B ""ob"', "login: false"),
        ("changed", "ann", "login: true → false"),
        ("new", "carl", "login: true"),
    ]
    assert compare(BEFORE, BEFORE) == []


def test_database_that_is_new_is_one_difference_and_one_that_cannot_be_entered_is_not_gone() -> None:
    more = Inventory(BEFORE.server, {**BEFORE.databases, "more": {"grants": {"a": {}, "b": {}}}}, {})
    assert [(str(one.became), one.database, one.said) for one in compare(BEFORE, more)] == [
        ("new", "more", "grants: 2")
    ]
    assert [str(one.became) for one in compare(more, BEFORE)] == ["gone"]
    closed = Inventory(BEFORE.server, BEFORE.databases, {"grants@more": "may not enter"})
    assert compare(more, closed) == []
    assert not_comparable(more, closed) == {"grants@more": "may not enter"}


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (BEFORE, Inventory({}, BEFORE.databases, {"roles@": "denied"}), "denied"),
        (Inventory({}, BEFORE.databases, {"roles@": "denied"}), BEFORE, "when the list was made: denied"),
        (Inventory({}, BEFORE.databases, {}), BEFORE, "approve a new one"),
        (BEFORE, Inventory({}, BEFORE.databases, {}), "nobody looks at this kind any more"),
    ],
)
def test_kind_that_one_of_both_did_not_see_is_not_called_unchanged(
    before: Inventory, now: Inventory, says: str
) -> None:
    assert compare(before, now) == []
    assert says in not_comparable(before, now)["roles@"]


def test_list_is_read_as_it_was_written_and_the_same_items_give_the_same_text() -> None:
    text = a_list().text()
    assert read_list(text, "x") == a_list()
    turned = Inventory({"roles": dict(reversed(BEFORE.server["roles"].items()))}, BEFORE.databases, {})
    assert a_list(turned).text() == text
    assert turned.sha256 == BEFORE.sha256


#: What a name in PostgreSQL can hold: any character but the zero byte.
NAMES = strategies.text(
    strategies.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=63
)
KINDS = strategies.dictionaries(
    NAMES, strategies.dictionaries(NAMES, strategies.dictionaries(NAMES, NAMES, max_size=2), max_size=3), max_size=2
)


@given(KINDS, strategies.dictionaries(NAMES, KINDS, max_size=2))
@example(
    {
        "roles": {
            name: {"x": ""}
            for name in ("yes", "null", "1e3", "- a", "#x", "~", "a: b", "\x85", "\u2028", "\x07", "\r\n", " ")
        }
    },
    {},
)
def test_any_name_means_the_same_when_it_is_read_again(server: Kinds, databases: dict[str, Kinds]) -> None:
    made = a_list(Inventory(server, databases, {}))
    read = read_list(made.text(), "x")
    assert read == made and read.text() == made.text()
    assert compare(made.inventory, read.inventory) == []


def test_database_whose_name_ends_like_that_of_one_that_cannot_be_entered_is_gone() -> None:
    more = Inventory({}, {"b": {"grants": {"a": {}}}, "a@b": {"grants": {}}}, {})
    closed = Inventory({}, {}, {"grants@a@b": "may not enter"})
    assert [(str(one.became), one.database) for one in compare(more, closed)] == [("gone", "b")]


@pytest.mark.parametrize("text", ["", "a: 1", "[", a_list().text().replace("access-list/1", "access-list/2")])
def test_file_that_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="no list of accesses"):
        read_list(text, "x.yaml")


def test_items_of_the_same_name_do_not_hide_each_other() -> None:
    rows = [{"item": "a", "x": "1"}, {"item": "a", "x": "2"}]
    assert as_items(rows) == {"a": {"x": "1"}, "a (2)": {"x": "2"}}


def test_newest_variant_that_the_server_knows_is_taken() -> None:
    for version, since in ((150004, 0), (170002, 160000)):
        (memberships,) = [file for file in load_kinds(version) if file.kind == "memberships"]
        assert memberships.since_version == since
