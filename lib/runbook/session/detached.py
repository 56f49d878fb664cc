"""A decision signed elsewhere: by somebody who cannot enter this machine or the run's folder, with stock OpenSSH alone.

runbook approve RUN GATE --prepare decision.json --as ann@example.org      here
ssh-keygen -Y sign -n runbook-approval -f KEY decision.json                there
runbook approve RUN GATE --signed decision.json                            here, with decision.json.sig beside it
"""

from __future__ import annotations

from pathlib import Path

from runbook import clock
from runbook.errors import OperatorError
from runbook.gates import signers
from runbook.gates.decision import Kind, read_decision
from runbook.session.deciding import Decided, draft, file_decision
from runbook.session.opengate import OpenGate


def prepare(gate: OpenGate, kind: Kind, file: Path, principal: str | None, comment: str) -> str:
    """The file holds the decision to be signed, for that person's key. Returns the key's fingerprint.

    Raises:
        OperatorError: nobody is named, that person has no single key that counts, or the file is there already.
    """
    if principal is None:
        raise OperatorError("Whose decision is it to be?", next="--as PRINCIPAL, as `runbook keys list` names them")
    path, now = signers.signers_path(gate.params), clock.now()
    keys = {
        one.fingerprint
        for one in signers.read_signers(path)
        if principal in one.principals and one.problem is None and one.is_valid_at(now)
    }
    if len(keys) != 1:
        raise OperatorError(
            f"{principal} has {len(keys)} keys that count now; one is needed.",
            next=f"runbook keys check --target {gate.params.target}",
        )
    decision = draft(gate, kind, fingerprint=keys.pop(), principal=principal, comment=comment)
    try:
        with file.open("xb") as opened:
            opened.write(decision.canonical())
    except OSError as cause:
        raise OperatorError(f"{file} could not be written: {cause.strerror}.", next="Name another file.") from cause
    return str(decision.key)


def take_signed(gate: OpenGate, file: Path) -> Decided:
    """The decision that was signed elsewhere is filed and journaled, if it counts.

    Raises:
        OperatorError: there is no decision or signature in the files, it is about something else, or it does not count.
    """
    try:
        data, signature = file.read_bytes(), file.with_name(file.name + ".sig").read_text("ascii", "replace")
    except OSError as cause:
        raise OperatorError(
            f"{cause.filename} cannot be read: {cause.strerror}.",
            next=f"Sign it first: ssh-keygen -Y sign -n runbook-approval -f KEY {file}",
        ) from cause
    decision = read_decision(data)
    if decision is None or decision.canonical() != data or decision.decision not in (Kind.APPROVAL, Kind.REJECTION):
        raise OperatorError(f"{file} is no approval or rejection as --prepare wrote it.", next="Prepare it anew.")
    return file_decision(gate, decision, signature)
