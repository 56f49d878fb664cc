"""The people whom the runner has introduced, against the records: each record holds their number and digest as they were then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from runbook import clock
from runbook.archive.archived import people_digest
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.records import RUN_JSON
from runbook.archive.signatures import Signers
from runbook.archive.tree import Tree
from runbook.gates.decision import NAMESPACE as APPROVAL
from runbook.gates.trust import NEW, Introduction, introduction_files
from runbook.plain import LARGEST_FILE, LARGEST_TEXT, is_plain, read_plain


def people_problems(tree: Tree, looked: Sequence[Looked], signers: Signers) -> Iterator[Problem]:
    """Introductions that were removed, rewritten or dated back since a record counted them, and approvers whom nobody introduced."""
    yield from _counted(tree, looked)
    for one in signers.trust.introductions:
        yield from _dated_back(one, looked)
    for record in looked:
        yield from _approvers(record, signers)


def _counted(tree: Tree, looked: Sequence[Looked]) -> Iterator[Problem]:
    files, before = introduction_files(tree.root), 0
    for one in looked:
        people = one.archived.people if one.archived is not None else None
        if one.archived is None or people is None:
            continue
        if people < before:
            yield Problem("people", one.name, f"counts {people} introduced people, fewer than the record before it")
        elif people > len(files):
            text = f"holds {len(files)} introductions of people, but there were {people} when {one.name} was archived: some were removed"
            yield Problem("people", "keys", text)
            return
        elif (
            people_digest([path for path in files[:people] if is_plain(path, LARGEST_TEXT)])
            != one.archived.people_digest
        ):
            text = f"the first {people} introductions of people are not what {one.name} saw: they were rewritten"
            yield Problem("people", "keys", text)
            return
        before = people


def _dated_back(made: Introduction, looked: Sequence[Looked]) -> Iterator[Problem]:
    """An introduction is as old as the first record that counts it; a stolen key of the runner that has ended can make none later."""
    where = f"keys/person-{made.number:06d}.txt"
    blind = [one.archived for one in looked if one.archived is not None and (one.archived.people or 0) < made.number]
    if not blind:
        return
    if made.at < blind[-1].at:
        text = f"says {clock.stamp(made.at)}, but a record that was archived at {clock.stamp(blind[-1].at)} does not count it"
        yield Problem("people", where, f"{text}: it was dated back")
    elif made.archive == NEW:
        yield Problem("people", where, "says it was made before the first record, which does not count it")


def _approvers(record: Looked, signers: Signers) -> Iterator[Problem]:
    """Whoever has approved a gate was introduced when the record was archived. Sandbox runs have practice keys, and prove nothing."""
    people = record.archived.people if record.archived is not None else None
    if people is None or RUN_JSON not in record.plain:
        return
    known = {
        (one.name, one.fingerprint)
        for one in signers.trust.introductions
        if APPROVAL in one.purposes and one.number <= people
    }
    for gate, name, key in _approvals(record):
        if (name, key) not in known:
            text = f"the gate '{gate}' was passed by {name} with the key {key}, which the runner had not introduced for approvals"
            yield Problem("approver-not-introduced", f"{record.name}/{RUN_JSON}", text)


def _approvals(record: Looked) -> list[tuple[str, str, str]]:
    """Gate, name and key of every approval and countersignature that counted, as run.json says."""
    try:
        said = json.loads(read_plain(record.folder / RUN_JSON, LARGEST_FILE))
        if said["target"]["environment"] == "sandbox":
            return []
        return [
            (str(gate["id"]), str(one["principal"]), str(one["key"]))
            for gate in said.get("gates", ())
            for one in [*(gate.get("approvals") or ()), *(gate.get("countersigned") or ())]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []  # a run.json that cannot be read is a problem of its own
