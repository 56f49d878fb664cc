"""The journal survives a crash at any byte, and two writers keep one row of numbers."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runbook import layout
from runbook.errors import PlatformError
from runbook.model import Check, Status
from runbook.redact import scrubber
from runbook.session import ledger
from runbook.session.journal import Journal, read_events, read_last_event, scan_events, write_atomically
from runbook.session.ledger import append_line


def line(n: int) -> bytes:
    return json.dumps({"n": n, "at": "2026-01-01T00:00:00Z", "event": "limit", "text": "é" * n}).encode() + b"\n"


@given(count=st.integers(0, 5), cut=st.integers(0, 400))
@settings(max_examples=60)
def test_journal_cut_at_any_byte_keeps_every_whole_event(count: int, cut: int) -> None:
    whole = [line(n) for n in range(1, count + 1)]
    data = b"".join(whole)[:cut]
    events, length = scan_events(data, "journal")
    kept = [n for n in range(1, count + 1) if sum(map(len, whole[:n])) <= len(data)]
    assert [event["n"] for event in events] == kept
    assert length == sum(len(whole[n - 1]) for n in kept)


def test_event_after_a_torn_tail_is_not_glued_to_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append("limit", text="first")
    with path.open("ab") as file:
        file.write(b'{"n": 2, "at": "2026-01-01T0')
    Journal(path).append("limit", text="second")
    assert [(event["n"], event["text"]) for event in read_events(path)] == [(1, "first"), (2, "second")]


def test_last_line_of_garbage_is_dropped_like_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line(1) + b"\0\0\0\n")
    Journal(path).append("concluded")
    assert [event["n"] for event in read_events(path)] == [1, 2]


@pytest.mark.parametrize("damaged", [b"nonsense\n" + line(2), line(2) + line(3), line(1) + line(1) + line(2)])
def test_journal_damaged_in_the_middle_is_reported_not_repaired(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(damaged)
    with pytest.raises(PlatformError, match=r"journal\.jsonl:[12]: the journal is damaged"):
        Journal(path).append("concluded")
    assert path.read_bytes() == damaged


def append_many(path: Path, name: str) -> None:
    journal = Journal(path)
    for number in range(50):
        journal.append("fact", name=name, value=number)


def test_two_processes_write_one_row_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(path, name)) for name in ("runner", "kernel")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = read_events(path)
    assert [event["n"] for event in events] == list(range(1, 101))
    for name in ("runner", "kernel"):
        assert [event["value"] for event in events if event["name"] == name] == list(range(50))


def test_events_are_scrubbed_before_they_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubber, "_forms", {})
    monkeypatch.setattr(scrubber, "_pattern", None)
    scrubber.register("DB", "hunter2hunter2")
    path = tmp_path / "journal.jsonl"
    Journal(path).append("fact", name="a", value={"hunter2hunter2": ["x hunter2hunter2"]})
    assert "hunter2" not in path.read_text()


def test_last_event_is_found_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert read_last_event(path) is None
    path.write_bytes(line(1) + line(2) + b'{"n": 3')
    found = read_last_event(path)
    assert found is not None and found["n"] == 2


def test_number_that_json_does_not_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        Journal(path).append("fact", name="a", value=float("nan"))
    assert not path.exists()  # an empty journal would look like a run that was opened


def test_atomic_write_leaves_no_part_behind(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    write_atomically(path, b"1")
    write_atomically(path, b"2")
    assert path.read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [path]


def test_names_in_other_bytes_than_utf8_are_journaled_as_text(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    name = os.fsdecode(b'm\xe4rz "\\"')
    journal.append("chosen", backup=name, half="\ud800")
    (event,) = read_events(journal.path)
    assert (event["backup"], event["half"]) == ('m\\xe4rz "\\"', "\ufffd")


def test_pipe_in_a_journals_place_is_none_and_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.jsonl")
    assert read_last_event(tmp_path / "journal.jsonl") is None
    assert read_events(tmp_path / "journal.jsonl") == []


def test_last_event_is_found_behind_a_line_of_any_length(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("fact", name="a", value="x" * 300_000)
    last = read_last_event(journal.path)
    assert last is not None and last["n"] == 1
    with journal.path.open("ab") as file:
        file.write(b'{"n": 2, "torn')
    assert read_last_event(journal.path) == last


def test_name_that_is_not_utf8_loses_no_observation(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    check = Check(id="a", title=name, status=Status.FAIL, expected="1", observed=name, reason=f"{name} \ud83d")
    assert (check.observed, check.reason) == ("caf\\xe9.csv", "caf\\xe9.csv \ufffd")
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("limit", text=name, check=check.model_dump(mode="json"))
    assert journal.events()[0]["text"] == "caf\\xe9.csv"


def test_ledger_takes_a_line_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    append_line("r1", "drill", "sandbox", "ann")
    before = layout.ledger().read_bytes()

    def half(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger, "write_all", half)
    with pytest.raises(OSError, match="No space left"):
        append_line("r2", "drill", "sandbox", "ann")
    assert layout.ledger().read_bytes() == before
