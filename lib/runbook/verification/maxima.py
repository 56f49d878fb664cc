"""The largest value of a column, for checks that compare one with what another row says: many columns in one statement.

A check file with `-- maximum: name` returns `schema_name`, `table_name`, `attribute_name`, `is_only` (without what inherits from the table) and
`last_value`. Of its rows those are kept whose column holds a number above `last_value`, which becomes the column `name`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from runbook import layout
from runbook.errors import NotMeasured, ParamsError
from runbook.postgres import parse
from runbook.postgres.batch import Batch, chunks
from runbook.postgres.checksession import CheckSession
from runbook.postgres.connect import SqlError, quote
from runbook.postgres.sqlfiles import SqlFile

_ASKED = ("schema_name", "table_name", "attribute_name", "is_only", "last_value")
#: Printed by the type's output function, so that columns of all types stand in one statement; '' where there is no row.
_MAXIMUM = "SELECT {0} AS n, pg_catalog.format('%s', pg_catalog.max({1})) AS highest FROM {2}"
_AT_ONCE = 50
_NUMBER = re.compile(r"-?[0-9]{1,40}")


def above(session: CheckSession, found: list[dict[str, Any]], sql: SqlFile) -> list[dict[str, Any]]:
    """Return the rows whose column's maximum is above their `last_value`, with it, and without what only said where to look.

    Raises:
        NotMeasured, SqlError: a maximum cannot be had.
        ParamsError: the file returns other columns.
    """
    name, kept = sql.get("maximum"), []
    for row, highest in zip(found, _maxima(session, found, sql), strict=True):
        if highest is not None and row["last_value"] is not None and highest > row["last_value"]:
            shown = {column: value for column, value in row.items() if column not in _ASKED or column == "last_value"}
            kept.append({**shown, name: highest})
    return kept


def _maxima(session: CheckSession, found: list[dict[str, Any]], sql: SqlFile) -> list[Decimal | None]:
    """Of each row's column the maximum; None where it is empty, or its maximum is no whole number: a text that a sequence is a part of."""
    for row in found:
        missing = [column for column in _ASKED if column not in row]
        if missing:
            raise ParamsError(
                f"{layout.short(sql.path)} has a maximum, and returns no column '{missing[0]}'.",
                next="Correct the file.",
            )
    maxima: list[Decimal | None] = []
    for some in chunks(found, _AT_ONCE):
        answers = _ask(session, tuple(_parts(row) for row in some))
        maxima += [Decimal(row["highest"]) if _NUMBER.fullmatch(row["highest"]) else None for row in answers]
    return maxima


def _ask(session: CheckSession, parts: tuple[tuple[str, ...], ...]) -> list[dict[str, Any]]:
    """Return one row for each part; asked one by one where that fails together: many large tables may take longer than one statement may."""
    batch = Batch(_MAXIMUM, parts)
    try:
        answers = batch.answers(session.ask(batch, parse.parse(batch.text)[0]))
    except SqlError:
        if len(parts) == 1 or session.connection.closed:
            raise
        return [row for part in parts for row in _ask(session, (part,))]
    if answers is None:
        raise NotMeasured("The maxima of columns were not answered one by one.")
    return answers


def _parts(row: dict[str, Any]) -> tuple[str, str]:
    table = f"{quote(row['schema_name'])}.{quote(row['table_name'])}"
    return quote(row["attribute_name"]), f"{'ONLY ' if row['is_only'] else ''}{table}"
