"""Incidents: what can go wrong, on purpose. One file a kind; adding a kind is adding a file.

Each really damages the sandbox, or its newest backup or WAL archive on disk. There is no undo but a new sandbox, unless
the incident's own `undo` says so.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import random
from typing import Any, Protocol, cast, runtime_checkable

from runbook import clock
from runbook.errors import OperatorError
from runbook.params.loading import nearest
from runbook.sandbox import cluster
from runbook.sandbox.place import Damage, Sandbox, locked, need_sandbox

UNDO = "runbook sandbox down --remove && runbook sandbox up"


@runtime_checkable
class Incident(Protocol):
    """What each module here offers.

    `apply` returns the truth as JSON-ready facts: `did` (one sentence), `where` (a path or an object), and what a test
    or a drill compares with; `undo` when there is a shorter way back than a new sandbox.
    """

    NAME: str
    SUMMARY: str

    def apply(self, sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
        """The damage is done."""


@functools.cache
def find_incidents() -> dict[str, Incident]:
    """All kinds, by name."""
    found: dict[str, Incident] = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        if not isinstance(loaded, Incident):
            raise TypeError(f"{loaded.__name__} is in the incidents folder and lacks NAME, SUMMARY or apply.")
        incident = cast(Incident, loaded)
        found[incident.NAME] = incident
    return dict(sorted(found.items()))


def apply_incident(kind: str, seed: int = 1) -> dict[str, Any]:
    """The home's sandbox has suffered this incident.

    Args:
        seed: picks the place of the damage; the same seed on the same sandbox hits the same place.

    Returns:
        The truth: kind, seed, did, where, undo and the incident's own facts.

    Raises:
        OperatorError: no such kind, no sandbox, or not the sandbox for it; nothing was damaged then.
    """
    kinds = find_incidents()
    if kind not in kinds:
        raise OperatorError(
            f"There is no incident '{kind}'; {nearest(kind, kinds)}", next="runbook sandbox incident --list"
        )
    with locked():
        sandbox, at, found = need_sandbox(), clock.now(), cluster.status()
        truth = kinds[kind].apply(sandbox, random.Random(seed))  # noqa: S311 - repeatable, no secret
        damage = Damage(kind=kind, at=at, timeline=found.timeline if found else None)
        now = need_sandbox()
        now.with_state(damages=(*now.state.damages, damage))
    return {"kind": kind, "seed": seed, "undo": UNDO, **truth}
