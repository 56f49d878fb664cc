"""The rows that a copy-back left in conflict, one a line with its key and the reason, beside the loss files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from runbook.errors import PlatformError
from runbook.recovery.copybackplan import CopyBackPlan
from runbook.recovery.lossfiles import csv_line
from runbook.recovery.minimising import Minimiser

FILE = "copy-back-conflicts.csv"


def write_conflicts(folder: Path, result: CopyBackPlan, rules: Mapping[str, str]) -> Path:
    """Write the conflicts that are listed, personal data in keys minimised as in loss files; the file's path.

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
                name = table.loss.name
                for one in table.conflicts:
                    key = {
                        column: minimiser.treat(value, how, column)
                        for column, value in one.key.items()
                        if (how := minimiser.treatment(name.schema if name else "", name.name if name else "", column))
                        != "drop"
                    }
                    shown = json.dumps(key, ensure_ascii=False) if key else None
                    file.write(csv_line([table.database, table.table, shown, one.place or None, one.reason]))
                if table.conflicting > len(table.conflicts):
                    more = f"{table.conflicting - len(table.conflicts):,} more are counted and not listed"
                    file.write(csv_line([table.database, table.table, None, None, more]))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as cause:
        raise PlatformError(
            f"The list of conflicts {path} cannot be written: {cause.strerror}.", next="Make room; then resume."
        ) from cause
    return path
