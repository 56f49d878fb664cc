"""Loss files: NULL apart from empty, personal data minimised, private, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runbook.errors import ParamsError
from runbook.recovery.loss import Xids
from runbook.recovery.lossfiles import LossFiles, csv_line, file_name
from runbook.recovery.minimising import Minimiser, looks_personal
from runbook.recovery.rowstreams import side_by_side

XID = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.sets(XID), XID)
def test_xids_know_exactly_their_own(xids: set[int], other: int) -> None:
    kept = Xids(xids)
    assert all(xid in kept for xid in xids) and (other in kept) == (other in xids) and len(kept) == len(xids)


def test_xids_are_written_as_an_array_without_their_epoch() -> None:
    assert Xids([2**32 + 7, 3]).literal() == "{3,7}" and Xids([]).literal() == "{}"


@settings(deadline=None)
@given(
    st.dictionaries(st.text("aä😀B", max_size=2), st.just("x"), max_size=8).map(lambda rows: list(rows.items())),
    st.dictionaries(st.text("aä😀B", max_size=2), st.just("y"), max_size=8).map(lambda rows: list(rows.items())),
)
def test_streams_are_matched_by_key(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    left, right = ({key: (key, value) for key, value in rows} for rows in (one, other))
    pairs = list(side_by_side(iter([left[key] for key in sorted(left)]), iter([right[key] for key in sorted(right)])))
    expected = [(left.get(key), right.get(key)) for key in sorted(left.keys() | right.keys())]
    assert pairs == expected


def test_null_and_empty_differ_in_csv() -> None:
    assert csv_line([None, "", "a,b"]) == b',"","a,b"\n'


def test_file_names_never_meet_and_never_leave_the_folder() -> None:
    names = {file_name("shop", "public", table) for table in ("a", "A", "../a", "a/b", "a b", "ä", "x" * 300)}
    assert len(names) == 7 and all("/" not in name and len(name) < 255 for name in names)


@pytest.mark.parametrize(
    "column", ["email", "user_email", "phoneNumber", "IPAddress", "last_name", "password_hash", "apiToken", "name"]
)
def test_personal_columns_are_known_by_their_names(column: str) -> None:
    assert looks_personal(column)


@pytest.mark.parametrize("column", ["id", "user_id", "vin", "price", "description", "created_at", "zipped", "shipment"])
def test_other_columns_are_kept(column: str) -> None:
    assert not looks_personal(column)


def test_rules_win_over_names_and_the_closest_rule_wins() -> None:
    minimiser = Minimiser({"*.email": "drop", "users.email": "hash", "audit.users.email": "keep", "users.nick": "mask"})
    assert [
        minimiser.treatment(*place)
        for place in (("audit", "users", "email"), ("public", "users", "email"), ("public", "t", "email"))
    ] == ["keep", "hash", "drop"]
    assert minimiser.unused == ["users.nick"]


def test_hashes_are_equal_for_equal_values_and_differ_from_run_to_run() -> None:
    one, other = Minimiser(), Minimiser()
    assert one.treat("a@x", "hash", "email") == one.treat("a@x", "hash", "email") != other.treat("a@x", "hash", "email")
    assert one.treat(None, "hash", "email") is None


def test_masks_tell_no_secret_and_no_short_value() -> None:
    minimiser = Minimiser()
    assert [
        minimiser.treat(value, "mask", column)
        for value, column in (("anna@x.org", "email"), ("abc", "name"), ("hunter2hunter2", "password"))
    ] == ["a***", "***", "***"]


@pytest.mark.parametrize(("rules", "words"), [({"a.b": "maks"}, "mask"), ({"email": "mask"}, "table.email")])
def test_rule_that_is_none_is_refused_with_the_right_one(rules: dict[str, str], words: str) -> None:
    with pytest.raises(ParamsError) as refused:
        Minimiser(rules)
    assert words in str(refused.value)


def test_table_without_a_row_leaves_no_file_and_a_failure_leaves_none_either(tmp_path: Path) -> None:
    files = LossFiles(tmp_path, Minimiser())
    files.prepare()
    with files.open_table("shop", "public", "empty", ["id"]) as out:
        assert out.columns == {"id": "keep"}
    with pytest.raises(RuntimeError), files.open_table("shop", "public", "broken", ["id"]) as out:
        out.add("inserted", "other", "7", ["1"])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_earlier_attempts_files_are_gone_and_the_manifest_comes_last(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("")
    files = LossFiles(tmp_path, Minimiser())
    files.prepare()
    with files.open_table("shop", "public", "users", ["id", "email", "password"]) as out:
        out.add("inserted", "other", "7", ["1", "anna@x.org", None])
    assert not (tmp_path / "old.csv").exists() and not (tmp_path / "manifest.json").exists()
    assert (tmp_path / "shop.public.users.csv").read_text().splitlines()[1] == '"inserted","other","7","1","a***",'
    content = json.loads(files.finish({"loss": {}}).read_text())
    assert content["format"] == "runbook.loss/1"


def test_files_are_there_only_as_long_as_each_stands_as_its_manifest_says(tmp_path: Path) -> None:
    files = LossFiles(tmp_path / "loss", Minimiser())
    assert not files.are_there(), "nothing was written yet"
    files.prepare()
    with files.open_table("shop", "public", "users", ["id"]) as out:
        out.add("inserted", "other", "7", ["1"])
    assert out.written is not None
    files.entries += [{"file": out.written.file, "bytes": out.written.bytes}, {"file": None}]
    manifest = files.finish({})
    assert files.are_there()
    users = files.folder / out.written.file
    whole = users.read_bytes()
    for spoil in (users.unlink, lambda: users.write_bytes(whole[:-1]), manifest.unlink):
        spoil()
        assert not files.are_there()
        users.write_bytes(whole)
