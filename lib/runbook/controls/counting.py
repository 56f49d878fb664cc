"""The home's own population: its controls, targets, records and exceptions, read and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runbook import layout
from runbook.archive.exceptions import AuditException, check_exceptions
from runbook.archive.findings import Problem
from runbook.controls.evidence import Evidence, read_evidence
from runbook.controls.population import Row, population
from runbook.errors import ParamsError
from runbook.params import load_params
from runbook.params.controls import Control, Controls, load_controls
from runbook.params.loading import nearest

_NO_TARGETS = ("contacts", "controls")


@dataclass(frozen=True)
class Counted:
    """The rows, and what they were counted from. `problems` are of exceptions that count for nothing."""

    rows: list[Row]
    evidence: list[Evidence]
    exceptions: list[AuditException]
    problems: list[Problem]


def read_targets() -> dict[str, str]:
    """Name → environment of every params file of this home."""
    names = sorted(path.stem for path in layout.params().glob("*.yaml") if path.stem not in _NO_TARGETS)
    return {name: str(load_params(name).environment) for name in names}


def find_control(controls: Controls, control_id: str) -> Control:
    """The control of that name.

    Raises:
        ParamsError: there is none; with the nearest name.
    """
    for one in controls.controls:
        if one.id == control_id:
            return one
    hint = nearest(control_id, [one.id for one in controls.controls])
    raise ParamsError(f"params/controls.yaml has no control '{control_id}'; {hint}", next="runbook due")


def count_controls(now: datetime, targets: Sequence[str] = (), controls: Sequence[Control] | None = None) -> Counted:
    """What was due of this home's targets, and what came of it.

    Args:
        targets: only these; all when empty.
        controls: only these; all of params/controls.yaml when None.

    Raises:
        ParamsError: a params file is wrong, or a target is none.
    """
    known = read_targets()
    asked = load_controls().controls if controls is None else controls
    for name in [*targets, *(name for one in asked for name in one.targets)]:
        if name not in known:
            raise ParamsError(f"There is no target '{name}'; {nearest(name, known)}", next="runbook list")
    evidence = read_evidence()
    problems, exceptions = check_exceptions()
    rows = population(asked, evidence, known, now, exceptions)
    return Counted([row for row in rows if not targets or row.target in targets], evidence, exceptions, problems)
