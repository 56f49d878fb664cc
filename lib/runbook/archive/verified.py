"""`Verified`: what a look at a whole archive has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from runbook.archive.findings import Problem
from runbook.archive.folders import Looked


@dataclass
class Verified:
    """What was found out.

    `keys` are the fingerprints that have signed records, in order of their first one. `witnessed` is the number up to which a
    witness from elsewhere proves that nothing was removed or rewritten. `is_export`: only the payloads that EXPORT lists are here.
    """

    root: Path
    looked: list[Looked] = field(default_factory=list)
    signed: list[Looked] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    witnessed: int = 0
    is_export: bool = False

    @property
    def is_proven(self) -> bool:
        """True when nothing is wrong and somebody has signed."""
        return not self.problems and bool(self.signed)
