"""What was found out about an archive: problems, which fail it, and notes, which say what nobody can prove."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.texts import visible_line


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `kind` is for machines: each way to tamper has its own."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return visible_line(f"{self.where}: {self.text}")
