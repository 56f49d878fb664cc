"""`TOMBSTONE`: says of a record whose payload was deleted what was deleted, when, and by which rule.

    # pruned 20271123020000 runner@db1
    # asked-by olaf
    # rule audit-logs, 365 d, asked for by the regulator, source runbook, section 7
    # kept-until 20271122021538
    # deleted executed.ipynb
    # deleted report.html
    <digest>  SHA256SUMS

`sha256sum -c TOMBSTONE` binds it to its record; `TOMBSTONE.sig` is by the runner's key. The digests of what was deleted stay in
SHA256SUMS, so that a copy kept elsewhere can still be proven to be the one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook.archive.archived import write_time
from runbook.archive.sums import SUMS, is_plain_name, lines_of
from runbook.gates.signers import read_moment
from runbook.plain import read_plain

_FIRST = re.compile(r"# pruned (\d{14}) ([A-Za-z0-9][A-Za-z0-9._@+-]*)")
_LAST = re.compile(rf"([0-9a-f]{{64}})  {SUMS}")


@dataclass(frozen=True)
class Tombstone:
    """What a tombstone says."""

    at: datetime
    signer: str
    asked_by: str
    rule: str
    kept_until: datetime
    deleted: frozenset[str]
    sums: str

    def content(self) -> bytes:
        """The file's bytes: ASCII."""
        lines = [f"# pruned {write_time(self.at)} {self.signer}", f"# asked-by {_plain(self.asked_by)}"]
        lines += [f"# rule {_plain(self.rule)}", f"# kept-until {write_time(self.kept_until)}"]
        lines += [*(f"# deleted {name}" for name in sorted(self.deleted))]
        return "".join(f"{line}\n" for line in [*lines, f"{self.sums}  {SUMS}"]).encode("ascii")


def _plain(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode().split())


def read_tombstone(path: Path) -> Tombstone:
    """What the file says.

    Raises:
        ValueError: it is no tombstone.
    """
    try:
        lines = lines_of(read_plain(path).decode("ascii"))
    except (OSError, UnicodeDecodeError) as cause:
        raise ValueError(f"cannot be read: {cause}") from cause
    first, last = _FIRST.fullmatch(lines[0] if lines else ""), _LAST.fullmatch(lines[-1] if lines else "")
    said = [line.removeprefix("# ").partition(" ")[::2] for line in lines[1:-1] if line.startswith("# ")]
    deleted = [value for word, value in said if word == "deleted"]
    if first is None or last is None or len(said) != len(lines) - 2 or not all(map(is_plain_name, deleted)):
        raise ValueError("is no tombstone")
    words = dict(said)
    try:
        at, until = read_moment(first[1]), read_moment(words.get("kept-until", ""))
    except ValueError as cause:
        raise ValueError("is no tombstone") from cause
    return Tombstone(at, first[2], words.get("asked-by", ""), words.get("rule", ""), until, frozenset(deleted), last[1])
