"""What the journal says that people decided, derived again from the files that they signed.

Whoever can write to a run's folder can add a line to its journal; nobody can make another person's signature. So no line about
a decision is believed: a passage, a rejection, the approvals that a waiting gate names, and a countersignature count as far as
the signed files in `gates/` bear them out. What they do not bear out becomes the event `claim-refused`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from runbook import clock
from runbook.errors import ParamsError
from runbook.gates import rules
from runbook.gates.decision import Decision, Kind
from runbook.gates.folder import Filed, GateFolder
from runbook.gates.plan import read_plan
from runbook.params import load_params
from runbook.params.schema import Params
from runbook.session.deciding import summary
from runbook.session.fold import fold
from runbook.session.gatebook import GateBook
from runbook.session.journal import Event, read_events
from runbook.session.opengate import rules_for
from runbook.session.request import JOURNAL
from runbook.session.state import RunState

#: As far as the clocks of two machines may be apart.
_SKEW = timedelta(minutes=5)


class _Refused(Exception):
    """A claim that no signed file bears out; the text says why."""


def read_proven(folder: Path) -> RunState:
    """A run's state from its journal, as far as signed files bear out what it says that people decided."""
    return fold(prove(folder, read_events(folder / JOURNAL)))


def prove(folder: Path, events: Sequence[Event], records: Path | None = None) -> list[Event]:
    """The events, with what people are said to have decided derived from the files that they signed.

    Args:
        folder: the run's.
        events: of its journal, from the beginning.
        records: the archive's folder of records, in which a countersignature's record must be; None: it is not looked for.
    """
    begun = [n for n, one in enumerate(events) if one["event"] == "attempt-started" and not one.get("continues")]
    latest = begun[-1] if begun else 0
    proven: list[Event] = []
    for index, event in enumerate(events):
        derive = _DERIVED.get(event["event"])
        # An earlier attempt's gates were derived when it was closed, and give no right to a later one.
        if derive is None or (index < latest and event["event"] != "gate-countersigned"):
            proven.append(event)
            continue
        state = fold(proven)
        try:
            proven.append(derive(folder, state, event, records))
        except _Refused as cause:
            proven.append(_refused(state, event, str(cause)))
    return proven


def _refused(state: RunState, event: Event, why: str) -> Event:
    book = state.gate_book.get(str(event.get("gate")))
    return {
        "n": event["n"],
        "at": event["at"],
        "event": "claim-refused",
        "claim": event["event"],
        "gate": event.get("gate"),
        "title": book.title if book is not None else str(event.get("gate")),
        "who": event.get("principal"),
        "why": why,
    }


def _judged(
    folder: Path, state: RunState, event: Event, moment: str
) -> tuple[rules.Judged, GateBook, Params, list[Filed]]:
    """What the files say as of the moment that the event names."""
    book = state.gate_book.get(str(event.get("gate")))
    if book is None or book.plan != event.get("plan"):
        raise _Refused("the run has asked for no such plan")
    try:
        at, params = clock.parse(str(event.get(moment))), load_params(state.target)
    except ParamsError as cause:
        raise _Refused(cause.message) from cause
    if at > clock.parse(event["at"]) + _SKEW:
        raise _Refused(f"it is dated {clock.stamp(at)}, after the line that says so")
    files = GateFolder(folder, book.id)
    _refuse_other_plan(state, files, book)
    book = replace(book, needed=max(book.needed, params.approvals.needed))
    filed = [one for one in files.decisions() if one.decision is None or one.decision.at <= at + _SKEW]
    return rules.judge(filed, rules_for(state, params, book, at)), book, params, filed


def _refuse_other_plan(state: RunState, files: GateFolder, book: GateBook) -> None:
    """The plan on the disk is the one that was asked for, and the one that the journal shows."""
    data = files.read_plan(book.plan)
    if data is None or sha256(data).hexdigest() != book.plan:
        raise _Refused("the plan's file is gone or was altered")
    shown = next((gate["plan"] for gate in state.gates if gate["id"] == book.id), None)
    if shown is not None and read_plan(data, book.id).model_dump(mode="json") != shown:
        raise _Refused("the journal shows another plan than the one that was signed")


def _passed(folder: Path, state: RunState, event: Event, records: Path | None) -> Event:
    judged, book, _, _ = _judged(folder, state, event, "passed_at")
    refusals = [one for one in judged.rejections if rules.decision_of(one).at <= clock.parse(event["passed_at"])]
    if refusals:
        raise _Refused(f"{rules.decision_of(refusals[0]).principal} has rejected the plan")
    if event.get("break_glass"):
        if judged.break_glass is None:
            raise _Refused(_missing(judged, book, "no break-glass record that counts is filed"))
        glass = summary(judged.break_glass)
    else:
        if not judged.is_enough(book.needed):
            found = f"{len(judged.approvals)} of {book.needed} approvals are borne out by signed files"
            raise _Refused(_missing(judged, book, found))
        glass = None
    return {
        **event,
        "approvals": [summary(one) for one in judged.approvals],
        "break_glass": glass,
        "void": _void(judged),
    }


def _missing(judged: rules.Judged, book: GateBook, said: str) -> str:
    void = "; ".join(f"{one.file}: {one.why}" for one in judged.void[:3])
    return said + (f" (void: {void})" if void else "")


def _void(judged: rules.Judged) -> list[dict[str, str]]:
    return [{"file": one.file, "why": one.why} for one in judged.void]


def _waiting(folder: Path, state: RunState, event: Event, records: Path | None) -> Event:
    judged, _, _, _ = _judged(folder, state, event, "at")
    return {**event, "approvals": [summary(one) for one in judged.approvals], "void": _void(judged)}


def _rejected(folder: Path, state: RunState, event: Event, records: Path | None) -> Event:
    judged, book, _, _ = _judged(folder, state, event, "at")
    if not judged.rejections:
        raise _Refused(_missing(judged, book, "no signed rejection is filed"))
    return {**event, "rejection": summary(judged.rejections[0])}


def _previewed(folder: Path, state: RunState, event: Event, records: Path | None) -> Event:
    if state.request["parameters"].get("dry_run") is not True:
        raise _Refused("a gate is previewed in a dry run only, and this run is none")
    return event


def _countersigned(folder: Path, state: RunState, event: Event, records: Path | None) -> Event:
    glass = next((one for one in state.glasses if (one.gate, one.plan) == (event.get("gate"), event.get("plan"))), None)
    if glass is None:
        raise _Refused("no plan of that gate was passed by break-glass")
    filed = next(
        (one for one in GateFolder(folder, glass.gate).decisions() if one.path.name == event.get("file")), None
    )
    decision = filed.decision if filed is not None else None
    if filed is None or decision is None or decision.decision is not Kind.COUNTERSIGN:
        raise _Refused(f"there is no countersignature in gates/{glass.gate}/{event.get('file')}")
    try:
        params = load_params(state.target)
    except ParamsError as cause:
        raise _Refused(cause.message) from cause
    book = replace(state.gate_book[glass.gate], plan=glass.plan, needed=max(glass.needed, params.approvals.needed))
    checked = rules_for(state, params, book, decision.at)
    why = rules.why_void(filed, checked) or _other_record(decision, state.run, records)
    names = rules.names_of_person(decision.principal, checked.signers)
    if why is None and any(one["principal"] in names for one in glass.countersigns):
        why = f"{decision.principal} has countersigned already: one person counts once"
    if why is not None:
        raise _Refused(f"{filed.path.name}: {why}")
    said = {
        "principal": decision.principal,
        "key": decision.key,
        "comment": decision.comment,
        "record": decision.record,
    }
    return {**event, **said, "signed_at": clock.stamp(decision.at), "user": decision.user}


def _other_record(decision: Decision, run: str, records: Path | None) -> str | None:
    """Why the record that was countersigned is none of this run's, or None."""
    if records is None:
        return None
    folder = records / Path(str(decision.record)).name
    try:
        sums = sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
        said = json.loads((folder / "run.json").read_bytes())["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"it is about the record {decision.record}, which is not in the archive"
    if sums != decision.record_sums or said != run:
        return f"it is about another record than {decision.record} of this run"
    return None


_DERIVED: dict[str, Callable[[Path, RunState, Event, Path | None], Event]] = {
    "gate-passed": _passed,
    "gate-previewed": _previewed,
    "gate-waiting": _waiting,
    "gate-rejected": _rejected,
    "gate-countersigned": _countersigned,
}
