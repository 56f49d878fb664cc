"""What a restored copy has because production had it: no failure of the restore.

A constraint that is NOT VALID, an invalid index, a sequence behind its column: a faithful restore brings them back. A check file whose header
says `-- about: catalogs` or `-- about: rows` finds such states. It fails where the copy differs from production; where the copy is proven to
be production at its point, it passes and names what it found, for production is where it is repaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runbook.model import Check, Status
from runbook.verification.sqlchecks import CheckFile, show_row

CATALOGS, ROWS = "catalogs", "rows"
_MOST_NAMED = 20


@dataclass
class OwnState:
    """What is known of a copy as a whole.

    Attributes:
        same: of each subject the databases that were as their fence says.
        differs: databases that were not.
        files_are_proven: every file of the backup has the checksum of its manifest; all WAL from there to the point was read and is whole.
    """

    same: dict[str, set[str]] = field(default_factory=lambda: {CATALOGS: set(), ROWS: set()})
    differs: set[str] = field(default_factory=set)
    files_are_proven: bool = False

    def note(self, subject: str, database: str, status: Status) -> None:
        """Take the comparison of one database with its fence into account."""
        if status is Status.PASS:
            self.same[subject].add(database)
        elif status is Status.FAIL:
            self.differs.add(database)

    def proof(self, subject: str, database: str) -> str | None:
        """Return what proves that the database is production's; None: nothing does, or something contradicts it."""
        if database in self.differs:
            return None
        if database in self.same[subject]:
            return "its fence"
        return "the manifest of the backup and its whole WAL" if self.files_are_proven else None

    def judge(self, check: Check, file: CheckFile, database: str, found: Sequence[Mapping[str, Any]]) -> Check:
        """Return the check, without a failure for what production had before the restore.

        Args:
            found: the rows of the check's statement.
        """
        subject = file.sql.get("about")
        if check.status is not Status.FAIL or subject not in self.same or database in self.differs:
            return check
        proof = self.proof(subject, database)
        step = file.sql.get("next")
        if proof is None:
            why = (
                f"{check.reason}. Whether production has it too is not known: database {database} was compared with no fence, and no manifest "
                "proves the files of the backup"
            )
            step = f"Look whether production has it: {step}" if step else "Take a fence: runbook fence take"
            return check.model_copy(update={"status": Status.UNKNOWN, "reason": why, "next": step})
        named = "; ".join(show_row(row) for row in found[:_MOST_NAMED])
        more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        said = f"{check.observed}, as production has it, proven by {proof} ({named}{more})"
        said += f"; to repair it in production: {step}" if step else ""
        update = {"status": Status.PASS, "observed": said, "reason": None, "next": None, "findings": ()}
        return check.model_copy(update=update)
