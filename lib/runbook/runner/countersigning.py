"""`countersign_run`: a second person has looked at what was done by break-glass, and the run is judged anew."""

from __future__ import annotations

from pathlib import Path

from runbook import layout
from runbook.archive.sums import SUMS
from runbook.errors import OperatorError
from runbook.gates.decision import Kind
from runbook.plain import sha256_of_file
from runbook.runner.anew import archive_anew
from runbook.runner.closing import read_state
from runbook.session.deciding import Decided, decide
from runbook.session.opengate import OpenGate
from runbook.session.state import RunState


def countersign_run(
    gate: OpenGate, *, key: Path, principal: str | None = None, comment: str = ""
) -> tuple[Decided, RunState]:
    """The countersignature is filed and journaled; a run that has concluded has a new record that tells of it.

    The record of the attempt that broke the glass stays as it is; the countersignature names it and its digest.

    Raises:
        OperatorError: there is no such record yet, or the countersignature would not count.
    """
    state = gate.state
    if not state.records:
        raise OperatorError(
            f"The run {state.run} has no record yet: there is nothing to look at before signing.",
            next=f"runbook close {state.run}",
        )
    record = layout.resolve(state.records[-1])
    if not (record / SUMS).is_file():
        raise OperatorError(
            f"The record {state.records[-1]} is not there, so that nobody can look at it before signing.",
            next="Bring it back from a copy of the archive.",
        )
    about = (record.name, sha256_of_file(record / SUMS))
    decided = decide(gate, Kind.COUNTERSIGN, key=key, principal=principal, comment=comment, record=about)
    after = read_state(gate.folder)
    if after.concluded and after.closed:
        archive_anew(gate.folder, after)
        after = read_state(gate.folder)
    return decided, after
