"""The rows that a copy-back left in conflict, one a line with its key and the reason, beside the loss files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runbook.errors import PlatformError
from runbook.recovery.copybackplan import Conflict, CopyBackPlan
from runbook.recovery.loss import TableLoss
from runbook.recovery.lossfiles import csv_line
from runbook.recovery.minimising import Minimiser
from runbook.recovery.relnames import RelationName

FILE = "copy-back-conflicts.csv"


def write_conflicts(
    folder: Path, result: CopyBackPlan, rules: Mapping[str, str], more: Sequence[tuple[TableLoss, Conflict]] = ()
) -> Path:
    """Write the conflicts that are listed, personal data in keys minimised as in loss files; the file's path.

    Args:
        more: rows that nothing brought back, with their table: those of tables that were left alone, and those that the restored copy does not have.

    Raises:
        PlatformError: it cannot be written.
    """
    minimiser, path = Minimiser(rules), folder / FILE
    part = path.with_name(f".{FILE}.part")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(csv_line(["database", "table", "key", "place in the restored copy", "reason"]))
            for table in result.tables:
                for one in table.conflicts:
                    file.write(_line(table.database, one, table.loss.name, minimiser))
                if table.conflicting > len(table.conflicts):
                    others = f"{table.conflicting - len(table.conflicts):,} more are counted and not listed"
                    file.write(csv_line([table.database, table.table, None, None, others]))
            for loss, one in more:
                file.write(_line(loss.name.database_name if loss.name else "", one, loss.name, minimiser))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as cause:
        raise PlatformError(
            f"The list of conflicts {path} cannot be written: {cause.strerror}.", next="Make room; then resume."
        ) from cause
    return path


def _line(database: str, row: Conflict, name: RelationName | None, minimiser: Minimiser) -> bytes:
    schema, table = (name.schema, name.name) if name is not None else ("", "")
    key = {
        column: minimiser.treat(value, how, column)
        for column, value in row.key.items()
        if (how := minimiser.treatment(schema, table, column)) != "drop"
    }
    shown = json.dumps(key, ensure_ascii=False) if key else None
    return csv_line([database, row.table, shown, row.place or None, row.reason])
