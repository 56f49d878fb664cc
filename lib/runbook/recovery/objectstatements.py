"""The statement that gives a catalog's row back what it said: a constraint, a grant, a comment, a flag of a table. Pure.

What pg_dump makes by itself (a view, a policy, a trigger, an index) is not here, see `schemaarchive`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from runbook.postgres.connect import quote
from runbook.recovery.catalogcolumns import USUAL_GRANTS
from runbook.recovery.catalogdiff import CatalogRow, Difference
from runbook.recovery.objectcolumns import GRANTS, OWNERS, Literal, Statement, column_statements, grants, pairs

#: Settings whose value is a list of names, which the catalog holds as one text (GUC_LIST_QUOTE).
_LISTS = (
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
)
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"][^\s,]*))\s*')
_NAME_ON = re.compile(r'("(?:[^"]|"")*"|\S+) on ')


def statements(difference: Difference, literal: Literal) -> list[Statement]:
    """Return what to run for a row that is gone, or for each of its columns that says something else; nothing where none is known."""
    row = difference.then
    if row is None:
        return []
    if difference.now is None:
        made = _GONE.get(row.catalog)
        found = made(row, literal) if made is not None else None
        return [] if found is None else [found]
    if row.catalog in ("pg_description", "pg_shdescription", "pg_seclabel", "pg_shseclabel"):
        again = _GONE[row.catalog](row, literal)
        return [] if again is None else [again]
    all_ = (one for column in _own(difference) for one in column_statements(difference, column, literal))
    return [one for one in dict.fromkeys(all_) if one.text]


def belongings(row: CatalogRow, literal: Literal) -> list[Statement]:
    """Return what gives an object that is made again its grants, or the comment or label that the row is."""
    if row.catalog in ("pg_description", "pg_shdescription", "pg_seclabel", "pg_shseclabel"):
        made = _GONE[row.catalog](row, literal)
        return [] if made is None else [made]
    fill = (
        [Statement(f"REFRESH MATERIALIZED VIEW {row.name};")]
        if row.cells.get("relispopulated") == "t" and row.kind == "materialized view"
        else []
    )
    column = next((name for name in GRANTS if name in row.cells), None)
    return [*fill, *([] if column is None else grants(row, row.cells[column], row.cells.get(USUAL_GRANTS)))]


def covered(difference: Difference, literal: Literal) -> bool:
    """True when each column that says something else has a statement."""
    return all(column_statements(difference, column, literal) for column in _own(difference))


def _own(difference: Difference) -> list[str]:
    """The columns without the grants of an object that has another owner: they go with the owner."""
    has_moved = any(column in OWNERS for column in difference.columns)
    return [column for column in difference.columns if not (has_moved and column in GRANTS)]


# -- rows that are gone


def _constraint(row: CatalogRow, _: Literal) -> Statement | None:
    cells = row.cells
    if cells.get("conparentid") or cells["contype"] == "t" or cells["conbin"] is None:
        return None
    name, definition = quote(str(cells["conname"])), cells["conbin"]
    if cells.get("contypid"):
        return Statement(
            f"ALTER DOMAIN {cells['contypid']} ADD CONSTRAINT {name} {definition};", is_scan=True, is_ours=False
        )
    add = f"ALTER TABLE {cells['conrelid']} ADD CONSTRAINT {name} {definition}"
    may_be_late = cells["contype"] in ("f", "c") and not add.endswith("NOT VALID")
    return Statement(f"{add};", is_scan=True, not_valid=f"{add} NOT VALID;" if may_be_late else None)


def _default(row: CatalogRow, _: Literal) -> Statement | None:
    cells = row.cells
    if cells["adbin"] is None or cells["generated"]:
        return None
    return Statement(
        f"ALTER TABLE ONLY {cells['adrelid']} ALTER COLUMN {quote(str(cells['adnum']))} SET DEFAULT {cells['adbin']};"
    )


def _column(row: CatalogRow, _: Literal) -> Statement | None:
    cells = row.cells
    column = f"{quote(str(cells['attname']))} {cells['atttypid']}"
    return Statement(f"ALTER TABLE {cells['attrelid']} ADD COLUMN {column};", is_scan=True, is_ours=False)


def _inherits(row: CatalogRow, _: Literal) -> Statement | None:
    child, parent, cells = _child(row), row.cells["inhparent"], row.cells
    if cells["kind"] in ("i", "I"):
        return Statement(f"ALTER INDEX {parent} ATTACH PARTITION {child};")
    if cells["bound"] is not None:
        return Statement(f"ALTER TABLE {parent} ATTACH PARTITION {child} {cells['bound']};", is_scan=True)
    return Statement(f"ALTER TABLE {child} INHERIT {parent};")


def _child(row: CatalogRow) -> str:
    return str(row.cells["inhrelid"])


def _comment(row: CatalogRow, literal: Literal) -> Statement | None:
    on = _address(row)
    return None if on is None else Statement(f"COMMENT ON {on} IS {literal(str(row.cells['description']))};")


def _label(row: CatalogRow, literal: Literal) -> Statement | None:
    on = _address(row)
    label = literal(str(row.cells["label"]))
    # A label runs the code of its provider.
    said = f"SECURITY LABEL FOR {quote(str(row.cells['provider']))} ON {on} IS {label};"
    return None if on is None else Statement(said, is_ours=False)


def _address(row: CatalogRow) -> str | None:
    """The object as COMMENT ON wants it."""
    is_label = row.catalog in ("pg_seclabel", "pg_shseclabel")
    name = row.name.removesuffix(f" / {row.cells['provider']}") if is_label else row.name
    kind = row.kind
    if not name:
        return None
    if kind.endswith(" column"):
        return f"COLUMN {name}"
    if kind == "table constraint":
        return f"CONSTRAINT {name}"
    if kind == "domain constraint":
        return f"CONSTRAINT {_NAME_ON.sub(lambda match: f'{match[0]}domain ', name, count=1)}"
    if kind == "statistics object":
        return f"STATISTICS {name}"
    return f"{kind.upper()} {name}"


def _depends(row: CatalogRow, _: Literal) -> Statement | None:
    cells = row.cells
    if cells["deptype"] == "a":
        return Statement(
            f"ALTER SEQUENCE {str(cells['object']).removeprefix('sequence ')} OWNED BY {cells['referenced']};"
        )
    if cells["deptype"] == "e":
        return Statement(f"ALTER EXTENSION {cells['referenced']} ADD {cells['object']};", is_ours=False)
    return None


def _membership(row: CatalogRow, _: Literal) -> Statement | None:
    admin = " WITH ADMIN OPTION" if row.cells["admin_option"] == "t" else ""
    return Statement(f"GRANT {row.cells['roleid']} TO {row.cells['member']}{admin};", is_ours=False)


def _settings(row: CatalogRow, literal: Literal) -> Statement | None:
    """Settings of a role, of a database, or of both. A role may store any text as its own, so nothing of it stands unquoted."""
    cells = row.cells
    options = pairs(cells["setconfig"])
    role, database = cells["setrole"], cells["setdatabase"]
    whose = (
        f"ROLE {role or 'ALL'}" + (f" IN DATABASE {database}" if database else "")
        if role or not database
        else f"DATABASE {database}"
    )
    values = {
        name: names_of(value) if name.lower() in _LISTS and value else [value]
        for name, value in (options or {}).items()
    }
    if not values or not all(values.values()):
        return None
    set_ = " ".join(
        f"ALTER {whose} SET {quote(name)} TO {', '.join(map(literal, listed or []))};"
        for name, listed in values.items()
    )
    return Statement(set_, is_ours=False)


def names_of(value: str) -> list[str] | None:
    """Return the names in a list as the catalog holds it, None where it is none: as pg_dump's SplitGUCList takes it apart.

    >>> names_of('"$user", public,"a "" b"'), names_of("x;ALTER/**/ROLE/**/app/**/SUPERUSER")
    (['$user', 'public', 'a " b'], ['x;ALTER/**/ROLE/**/app/**/SUPERUSER'])
    >>> names_of('a b'), names_of('a,,b'), names_of('a,'), names_of('"a')
    (None, None, None, None)
    """
    found, at = [], 0
    while True:
        match = _ELEMENT.match(value, at)
        if match is None:
            return None
        found.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        at = match.end()
        if at == len(value):
            return found
        if value[at] != ",":
            return None
        at += 1


def _role(row: CatalogRow, _: Literal) -> Statement | None:
    """Without its password."""
    words = {"rolsuper": "SUPERUSER", "rolinherit": "INHERIT", "rolcreaterole": "CREATEROLE", "rolcreatedb": "CREATEDB", "rolcanlogin": "LOGIN",
             "rolreplication": "REPLICATION", "rolbypassrls": "BYPASSRLS"}  # fmt: skip
    said = " ".join(word if row.cells.get(name) == "t" else f"NO{word}" for name, word in words.items())
    return Statement(f"CREATE ROLE {row.name} {said};", is_ours=False)


_GONE: dict[str, Callable[[CatalogRow, Literal], Statement | None]] = {
    "pg_constraint": _constraint,
    "pg_attrdef": _default,
    "pg_attribute": _column,
    "pg_inherits": _inherits,
    "pg_description": _comment,
    "pg_shdescription": _comment,
    "pg_seclabel": _label,
    "pg_shseclabel": _label,
    "pg_depend": _depends,
    "pg_auth_members": _membership,
    "pg_db_role_setting": _settings,
    "pg_authid": _role,
}


#: In this order the rows that pg_dump has no entry for are made again.
_ORDER = ("pg_attribute", "pg_attrdef", "pg_depend", "pg_inherits", "pg_constraint")


def place_of(difference: Difference) -> tuple[int, bool, bool, str, str]:
    """Return where it comes when what is missing is made again, for sorting."""
    row = difference.row
    at = _ORDER.index(row.catalog) if row.catalog in _ORDER else len(_ORDER)
    is_key = row.catalog == "pg_constraint" and row.cells["contype"] == "f"
    is_late = row.catalog in ("pg_description", "pg_seclabel", "pg_shdescription", "pg_shseclabel")
    return at, is_key, is_late, row.catalog, row.name
