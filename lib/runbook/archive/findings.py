"""What was found out about an archive: problems, which fail it, and notes, which say what nobody can prove."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `kind` is for machines: each way to tamper has its own."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        """For a terminal: names come from whoever has written the archive, so that nothing in them may steer it."""
        return "".join(char if char.isprintable() else "\ufffd" for char in f"{self.where}: {self.text}")
