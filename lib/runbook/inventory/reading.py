"""Takes the inventory: `sql/inventory/*.sql`, a file a kind. Each row is an `item` and its facts; a new kind is a new file.

`<kind>_post_160000.sql` takes the place of `<kind>.sql` on servers from that version on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook import layout, texts
from runbook.errors import NotMeasured, ParamsError, PlatformError
from runbook.inspection.looking import Look, Rights
from runbook.inventory.items import Inventory, Items, Kinds, place_key
from runbook.postgres import causes
from runbook.postgres.connect import SqlError
from runbook.postgres.sqlfiles import SqlFile, parse_sql, require_read_only

_VARIANT = re.compile(r"(.+)_post_(\d{6})")


@dataclass(frozen=True)
class KindFile:
    """One kind as its file describes it. `needs`: predefined roles without which rows are missing silently."""

    kind: str
    since_version: int
    per_database: bool
    needs: tuple[str, ...]
    sql: SqlFile


def load_kinds(version: int, folder: Path | None = None) -> list[KindFile]:
    """Of each kind the newest file that a server of this version (such as 170002) knows.

    Raises:
        ParamsError: a file is broken.
    """
    best: dict[str, KindFile] = {}
    for path in sorted((folder or layout.sql() / "inventory").glob("*.sql")):
        sql, variant = parse_sql(path), _VARIANT.fullmatch(path.stem)
        require_read_only(sql)
        if sql.get("scope") not in ("cluster", "database"):
            raise ParamsError(f"{layout.short(path)}: scope is cluster or database.", next="Write: -- scope: database")
        needs = tuple(part.strip() for part in sql.get("needs").split(",") if part.strip())
        found = KindFile(
            variant[1] if variant else path.stem,
            int(variant[2]) if variant else 0,
            sql.get("scope") == "database",
            needs,
            sql,
        )
        known = best.get(found.kind)
        if found.since_version <= version and (known is None or known.since_version < found.since_version):
            best[found.kind] = found
    return list(best.values())


def as_items(rows: Iterable[Mapping[str, Any]]) -> Items:
    """Rows as items, by name; bytes that are no UTF-8 are shown; names that stand twice are numbered, so that none hides another.

    >>> as_items([{"item": "a", "x": 1}, {"item": "a", "x": None}])
    {'a': {'x': '1'}, 'a (2)': {'x': ''}}
    """
    items: Items = {}
    for row in rows:
        name, number = texts.escaped(str(row["item"])), 1
        while name in items:
            number += 1
            name = texts.escaped(f"{row['item']} ({number})")
        items[name] = {
            key: "" if value is None else texts.escaped(str(value)) for key, value in row.items() if key != "item"
        }
    return items


def take_inventory(look: Look, databases: list[dict[str, Any]], rights: Rights, area: str = "inventory") -> Inventory:
    """What is there, and what could not be seen and why.

    Args:
        databases: as `Look.databases` gives them.
        area: the folder of the kinds' files below `sql/`.

    Raises:
        PlatformError: the server cannot be reached.
        ParamsError: a file is broken.
    """
    files = load_kinds(rights.version_number, layout.sql() / area)
    unseen: dict[str, str] = {}
    server = _read(look, [file for file in files if not file.per_database], None, rights, unseen)
    inside = [file for file in files if file.per_database]
    found: dict[str, Kinds] = {}
    for row in databases:
        name, shown = str(row["name"]), texts.escaped(str(row["name"]))
        try:
            if not row["may"]:
                raise PlatformError(f"no database {shown} that {rights.role} may enter: GRANT CONNECT")
            with look.open_(name):
                pass
        except PlatformError as problem:
            unseen.update({place_key(file.kind, shown): texts.escaped(problem.message) for file in inside})
            continue
        found[shown] = _read(look, inside, name, rights, unseen)
    return Inventory(server, found, unseen)


def _read(
    look: Look,
    files: list[KindFile],
    database: str | None,
    rights: Rights,
    unseen: dict[str, str],
) -> Kinds:
    kinds: Kinds = {}
    for file in files:
        lacking = [role for role in file.needs if role not in rights.roles]
        if lacking:
            unseen[place_key(file.kind, texts.escaped(database or ""))] = (
                f"{rights.role} lacks {', '.join(lacking)}: GRANT pg_monitor TO it"
            )
            continue
        try:
            kinds[file.kind] = as_items(look.ask(file.sql, database))
        except (SqlError, NotMeasured) as problem:
            unseen[place_key(file.kind, texts.escaped(database or ""))] = causes.words_of(problem)
        except PlatformError as problem:
            raise PlatformError(
                f"The connection was lost while the inventory was taken: {problem.message}", next="Run it again."
            ) from None
    return kinds
