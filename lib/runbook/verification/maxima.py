"""The largest value of a column, for checks that compare one with what another row says: a statement of its own for each column.

A check file with `-- maximum: name` returns `schema_name`, `table_name`, `attribute_name`, `is_only` (without what inherits from the table) and
`last_value`. Of its rows those are kept whose column holds a number above `last_value`, which becomes the column `name`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from runbook import layout
from runbook.errors import ParamsError
from runbook.postgres import parse
from runbook.postgres.checksession import CheckSession
from runbook.postgres.connect import quote
from runbook.postgres.sqlfiles import SqlFile

_ASKED = ("schema_name", "table_name", "attribute_name", "is_only", "last_value")
_NUMBER = re.compile(r"-?[0-9]{1,40}")


def above(session: CheckSession, found: list[dict[str, Any]], sql: SqlFile) -> list[dict[str, Any]]:
    """Return the rows whose column's maximum is above their `last_value`, with it, and without what only said where to look.

    Raises:
        NotMeasured, SqlError: a maximum cannot be had.
        ParamsError: the file returns other columns.
    """
    name, kept = sql.get("maximum"), []
    for row in found:
        missing = [column for column in _ASKED if column not in row]
        if missing:
            raise ParamsError(
                f"{layout.short(sql.path)} has a maximum, and returns no column '{missing[0]}'.",
                next="Correct the file.",
            )
        highest = _maximum(session, row)
        if highest is not None and row["last_value"] is not None and highest > row["last_value"]:
            shown = {column: value for column, value in row.items() if column not in _ASKED or column == "last_value"}
            kept.append({**shown, name: highest})
    return kept


def _maximum(session: CheckSession, row: dict[str, Any]) -> Decimal | None:
    """None where the column is empty, or its maximum is no whole number: a text that a sequence is a part of."""
    table = f"{quote(row['schema_name'])}.{quote(row['table_name'])}"
    text = f"SELECT pg_catalog.max({quote(row['attribute_name'])}) AS highest FROM {'ONLY ' if row['is_only'] else ''}{table}"
    highest = session.ask(text, parse.parse(text)[0])[0]["highest"]
    return Decimal(str(highest)) if highest is not None and _NUMBER.fullmatch(str(highest)) else None
