"""What became of the loss files, table by table: for their manifest, and for the step that shows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook.model import Check, Status
from runbook.postgres.causes import is_lock_timeout
from runbook.postgres.connect import SqlError
from runbook.recovery.course import Seen
from runbook.recovery.loss import TableLoss, rows_facts
from runbook.recovery.lossfiles import Written

#: The two servers, and why each of them keeps a lock.
DAMAGED, RESTORED = "the damaged server", "the restored copy"
_HOLDS = {
    DAMAGED: "Somebody holds its lock on the damaged server (pg_locks tells who): end that, then resume.",
    RESTORED: "In the restored copy the transaction in front of which recovery paused holds its lock: it can be read after promotion.",
}


@dataclass
class TableRows:
    """What was found of one table: rows by operation and by whose they are; `notes` say what could not be had, `problem` the server's
    words where reading failed: nothing is known of the table's rows then. `is_held`: for a lock that the copy keeps while it is paused."""

    title: str
    file: str | None
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    written: Written | None = None
    problem: str | None = None
    is_held: bool = False
    limits: list[str] = field(default_factory=list)

    def limit(self, said: str) -> None:
        """What the files do not have, though nothing failed: for the top of the report too."""
        self.notes.append(said)
        self.limits.append(f"Loss files: {said}.")

    def count(self, operation: str, by: str | None = None) -> int:
        """Rows of an operation, of all or of `other`, `damage`, `unknown`."""
        counts = self.operations.get(operation, {})
        return sum(counts.values()) if by is None else counts.get(by, 0)

    def fail(self, error: SqlError, server: str) -> None:
        """The table could not be read.

        Args:
            server: which of the two said so.
        """
        self.problem = f"{self.title} could not be read: {str(error).strip().splitlines()[0]}"
        if is_lock_timeout(error):
            self.problem += f". {_HOLDS[server]}"
            self.is_held = server == RESTORED

    def manifest_entry(self, table: TableLoss) -> dict[str, Any]:
        """The table's part of the manifest."""
        facts: dict[str, Any] = {
            "table": table.title,
            "database": table.name.database_name if table.name else None,
            "in WAL": {"others": rows_facts(table.others), "damage": rows_facts(table.damage)},
            "fates": table.fates,
            "found": self.operations,
            "notes": self.notes,
            "problem": self.problem,
            "file": self.file,
        }
        written = self.written
        if written is not None and self.file is not None:
            facts |= {
                "sha256": written.sha256,
                "bytes": written.bytes,
                "rows": written.rows,
                "columns": written.columns,
            }
        return facts

    def shown(self) -> dict[str, Any]:
        """A row for report.table."""
        return {
            "table": self.title,
            "file": self.file or "none: nothing differs",
            **{name: self.count(name) for name in ("inserted", "updated_new", "deleted")},
            "note": self.problem or "; ".join(self.notes),
        }


def tell(found: Sequence[TableRows], folder: Path) -> Seen:
    """A row a table, and a check; none where all that is missing waits for the promotion. `facts["open"]` are the problems that
    another look may find gone."""
    problems = [one for one in found if one.problem]
    limits = [said for one in found for said in one.limits]
    open_ = [one.problem for one in problems if not one.is_held]
    check = Check(
        id="recovery-loss-files",
        title="The rows that a recovery discards are written down",
        status=Status.UNKNOWN if problems else Status.PASS,
        expected="every table that lost rows",
        observed=f"{len(found) - len(problems)} of {len(found)} tables",
        reason=(open_[0] if open_ else problems[0].problem) if problems else None,
        next="Mend what the server says, then resume; until then these rows are counted only." if problems else None,
    )
    return Seen(
        [check] if open_ or not problems else [],
        [one.shown() for one in found],
        {"folder": str(folder), "limits": [*(one.problem for one in problems), *limits], "open": open_},
    )
