"""The statement that sets one column of a catalog's row back: a grant, an owner, a flag, a definition. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from runbook.postgres.connect import quote
from runbook.recovery.catalogdiff import CatalogRow, Difference

Literal = Callable[[str], str]


@dataclass(frozen=True)
class Statement:
    """`is_scan`: it reads a table's rows, so that functions which the table's definition names would run. `is_ours` False: it is for a person
    to run, since it rewrites a table, moves it, gives a role rights, or needs a choice. `not_valid` is what holds for new rows alone."""

    text: str
    is_scan: bool = False
    is_ours: bool = True
    not_valid: str | None = None


_ON = {"table": "TABLE", "view": "VIEW", "materialized view": "MATERIALIZED VIEW", "index": "INDEX", "sequence": "SEQUENCE",
       "foreign table": "FOREIGN TABLE", "composite type": "TYPE"}  # fmt: skip
_FIRING = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}
_PARAMETER = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?")
_PRIVILEGE = re.compile(r"[A-Z]+(?: [A-Z]+)*")
#: Columns with grants, with owners.
GRANTS = ("relacl", "attacl", "proacl", "nspacl", "typacl", "datacl", "lanacl", "srvacl", "fdwacl", "spcacl")
OWNERS = ("relowner", "proowner", "nspowner", "typowner", "datdba", "stxowner", "pubowner", "evtowner", "lanowner", "oprowner", "opcowner", "opfowner",
           "collowner", "conowner", "dictowner", "cfgowner", "srvowner", "fdwowner")  # fmt: skip


def column_statements(difference: Difference, column: str, literal: Literal) -> list[Statement]:
    then, now = difference.then, difference.now
    assert then is not None and now is not None
    before, after = then.cells[column], now.cells.get(column)
    if then.name != now.name and then.catalog in _NAMES:
        return _renamed(then, now, column)
    if column in GRANTS:
        return grants(then, before, after)
    if column == "reloptions":
        options = pairs(before), pairs(after)
        return [] if None in options else _options(then, options[0] or {}, options[1] or {}, literal)
    if column in OWNERS and before is not None:
        return [Statement(f"ALTER {_ON.get(then.kind, then.kind.upper())} {then.name} OWNER TO {before};")]
    made = _COLUMNS.get((then.catalog, column))
    if made is None and then.catalog in _WHOLE:
        whole = _WHOLE[then.catalog](then, now)
        return [] if whole is None else [whole]
    found = made(then, before, literal) if made is not None else None
    return [] if found is None else [found] if isinstance(found, Statement) else [Statement(found)]


#: The columns with an object's name and its schema.
_NAMES = {"pg_class": ("relname", "relnamespace"), "pg_proc": ("proname", "pronamespace"), "pg_type": ("typname", "typnamespace"),
          "pg_namespace": ("nspname", ""), "pg_attribute": ("attname", "")}  # fmt: skip


def _renamed(then: CatalogRow, now: CatalogRow, column: str) -> list[Statement]:
    """Its own name and schema; for a person, since somebody may use the new ones. Whatever else differs is set back after that."""
    name, schema = _NAMES[then.catalog]
    before = str(then.cells[column])
    if column == name and then.catalog == "pg_attribute":
        columns = f"RENAME COLUMN {quote(str(now.cells[name]))} TO {quote(before)}"
        return [Statement(f"ALTER TABLE {now.cells['attrelid']} {columns};", is_ours=False)]
    alter = f"ALTER {_ON.get(then.kind, then.kind.upper())} {now.name}"
    if column == name and (not schema or then.cells[schema] == now.cells[schema]):
        return [Statement(f"{alter} RENAME TO {quote(before)};", is_ours=False)]
    if column == schema and then.cells[name] == now.cells[name]:
        return [Statement(f"{alter} SET SCHEMA {before};", is_ours=False)]
    # Text that contains the object's own name.
    return [Statement("", is_ours=False)] if column == "definition" else []


def grants(row: CatalogRow, before: str | None, after: str | None) -> list[Statement]:
    """Grants that are gone are given again, and those that are new are taken; what another than the owner has granted is for a person."""
    then, now = _items(before), _items(after)
    if not all(len(one) == 4 and _PRIVILEGE.fullmatch(one[1]) for one in (*then, *now)):
        return []
    gone, new = [one for one in then if one not in now], [one for one in now if one not in then]
    if row.catalog == "pg_attribute":
        column, on = f" ({quote(str(row.cells['attname']))})", f"TABLE {row.cells['attrelid']}"
    else:
        words = {
            "pg_proc": "ROUTINE",
            "pg_type": "TYPE",
            "pg_namespace": "SCHEMA",
            "pg_database": "DATABASE",
            "pg_language": "LANGUAGE",
        }
        word = words.get(row.catalog) or (
            "SEQUENCE" if row.kind == "sequence" else "TABLE" if row.catalog == "pg_class" else row.kind.upper()
        )
        column, on = "", f"{word} {row.name}"
    owner = next((row.cells[name] for name in OWNERS if name in row.cells), None)
    found = []
    for grantee, privilege, grantable, grantor in gone:
        to = quote(grantee) if grantee else "PUBLIC"
        option = " WITH GRANT OPTION" if grantable == "true" else ""
        found.append(_by(grantor, owner, f"GRANT {privilege}{column} ON {on} TO {to}{option};"))
    for grantee, privilege, grantable, grantor in new:
        to = quote(grantee) if grantee else "PUBLIC"
        if any(one[:2] == (grantee, privilege) and one[3] == grantor for one in then):
            if grantable == "true":
                found.append(_by(grantor, owner, f"REVOKE GRANT OPTION FOR {privilege}{column} ON {on} FROM {to};"))
            continue
        found.append(_by(grantor, owner, f"REVOKE {privilege}{column} ON {on} FROM {to};"))
    return found


def _items(text: str | None) -> list[tuple[str, ...]]:
    return [tuple(item.split("\x1f")) for item in (text or "").split("\x1e") if item]


def _by(grantor: str, owner: str | None, text: str) -> Statement:
    """A grant of the owner's, which a superuser gives in its name; another's takes that role."""
    if owner is None or grantor == owner or quote(grantor) == owner:
        return Statement(text)
    return Statement(f"SET ROLE {quote(grantor)}; {text} RESET ROLE;", is_ours=False)


def _table(then: CatalogRow) -> str:
    return f"ALTER {_ON.get(then.kind, 'TABLE')} {then.name}"


def _security(then: CatalogRow, before: str | None, _: Literal) -> str:
    return f"{_table(then)} {'ENABLE' if before == 't' else 'DISABLE'} ROW LEVEL SECURITY;"


def _forced(then: CatalogRow, before: str | None, _: Literal) -> str:
    return f"{_table(then)} {'FORCE' if before == 't' else 'NO FORCE'} ROW LEVEL SECURITY;"


def _identity(then: CatalogRow, before: str | None, _: Literal) -> str | None:
    word = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}.get(before or "")
    return f"{_table(then)} REPLICA IDENTITY {word};" if word else None


def _options(then: CatalogRow, before: dict[str, str], after: dict[str, str], literal: Literal) -> list[Statement]:
    """Storage parameters; of a name that is no plain one, which only an extension's can be, nothing is known here."""
    found: list[Statement] = []
    if not all(_PARAMETER.fullmatch(name) for name in {*before, *after}):
        return found
    if added := [name for name in after if name not in before]:
        found.append(Statement(f"{_table(then)} RESET ({', '.join(added)});"))
    if gone := [f"{name} = {literal(value)}" for name, value in before.items() if after.get(name) != value]:
        found.append(Statement(f"{_table(then)} SET ({', '.join(gone)});"))
    return found


def pairs(options: str | None) -> dict[str, str] | None:
    r"""Return name=value, as a catalog's array holds them; None where a value has the character that parts them.

    >>> pairs("fillfactor=70\x1eautovacuum_enabled=off"), pairs(None), pairs('\x1e{"a=b\x1ec=d"}')
    ({'fillfactor': '70', 'autovacuum_enabled': 'off'}, {}, None)
    """
    if options is not None and options.startswith("\x1e"):
        return None
    listed = [pair.partition("=") for pair in (options or "").split("\x1e") if pair]
    return {name: value for name, _, value in listed}


def _logged(then: CatalogRow, before: str | None, _: Literal) -> Statement:
    return Statement(f"{_table(then)} SET {'UNLOGGED' if before == 'u' else 'LOGGED'};", is_scan=True, is_ours=False)


def _space(then: CatalogRow, before: str | None, _: Literal) -> Statement:
    return Statement(f"{_table(then)} SET TABLESPACE {before or 'pg_default'};", is_ours=False)


def _filled(then: CatalogRow, before: str | None, _: Literal) -> Statement | None:
    return Statement(f"REFRESH MATERIALIZED VIEW {then.name};", is_scan=True, is_ours=False) if before == "t" else None


def _of_column(
    words: Callable[[str | None], str | None], *, is_scan: bool = False
) -> Callable[[CatalogRow, str | None, Literal], Statement | None]:
    def made(then: CatalogRow, before: str | None, _: Literal) -> Statement | None:
        said = words(before)
        column = quote(str(then.cells["attname"]))
        return (
            None
            if said is None
            else Statement(f"ALTER TABLE {then.cells['attrelid']} ALTER COLUMN {column} {said};", is_scan=is_scan)
        )

    return made


def _trigger(then: CatalogRow, before: str | None, _: Literal) -> str:
    return f"ALTER TABLE {then.cells['tgrelid']} {_FIRING[before or 'O']} TRIGGER {quote(str(then.cells['tgname']))};"


def _rule(then: CatalogRow, before: str | None, _: Literal) -> str:
    return f"ALTER TABLE {then.cells['ev_class']} {_FIRING[before or 'O']} RULE {quote(str(then.cells['rulename']))};"


def _event_trigger(then: CatalogRow, before: str | None, _: Literal) -> Statement:
    return Statement(f"ALTER EVENT TRIGGER {then.name} {_FIRING[before or 'O']};", is_ours=False)


# -- objects that are given their whole definition again, where any of it says something else


def _key(then: CatalogRow, now: CatalogRow) -> Statement | None:
    cells = then.cells
    before, after = str(cells["conbin"]), str(now.cells["conbin"])
    if cells.get("contypid") or cells.get("conparentid"):
        return None
    name = quote(str(cells["conname"]))
    if after == f"{before} NOT VALID":
        return Statement(f"ALTER TABLE {cells['conrelid']} VALIDATE CONSTRAINT {name};", is_scan=True)
    differing = {column for column, cell in cells.items() if now.cells.get(column) != cell}
    if cells["contype"] == "f" and differing <= {"condeferrable", "condeferred", "conbin"}:
        word = "DEFERRABLE" if cells["condeferrable"] == "t" else "NOT DEFERRABLE"
        late = " INITIALLY DEFERRED" if cells["condeferred"] == "t" else ""
        return Statement(f"ALTER TABLE {cells['conrelid']} ALTER CONSTRAINT {name} {word}{late};")
    again = f"ALTER TABLE {cells['conrelid']} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {before};"
    return Statement(again, is_scan=True, is_ours=False)


def _function(then: CatalogRow, _: CatalogRow) -> Statement | None:
    definition = then.cells["definition"]
    return None if definition is None else Statement(f"{definition.rstrip()};")


def _rewrite(then: CatalogRow, _: CatalogRow) -> Statement | None:
    if then.cells["definition"] is not None:
        return Statement(f"CREATE OR REPLACE VIEW {then.cells['ev_class']} AS {then.cells['definition']}")
    rule = str(then.cells["ev_action"])
    return (
        Statement(rule.replace("CREATE RULE", "CREATE OR REPLACE RULE", 1)) if rule.startswith("CREATE RULE") else None
    )


def _policy(then: CatalogRow, now: CatalogRow) -> Statement | None:
    """ALTER POLICY knows no way to take a condition away, or to be for another command."""
    cells = then.cells
    parts = [("polqual", "USING"), ("polwithcheck", "WITH CHECK")]
    if any(cells[name] is None and now.cells[name] is not None for name, _ in parts) or any(
        cells[name] != now.cells[name] for name in ("polcmd", "polpermissive")
    ):
        return None
    said = "".join(f" {word} ({cells[name]})" for name, word in parts if cells[name] is not None)
    roles = ", ".join("PUBLIC" if one in ("-", "0") else one for one in str(cells["polroles"]).split(", "))
    return Statement(f"ALTER POLICY {quote(str(cells['polname']))} ON {cells['polrelid']} TO {roles}{said};")


def _sequence(then: CatalogRow, _: CatalogRow) -> Statement | None:
    cells = then.cells
    return Statement(
        f"ALTER SEQUENCE {then.name} AS {cells['seqtypid']} INCREMENT BY {cells['seqincrement']} MINVALUE {cells['seqmin']} MAXVALUE {cells['seqmax']} "
        f"START WITH {cells['seqstart']} CACHE {cells['seqcache']} {'CYCLE' if cells['seqcycle'] == 't' else 'NO CYCLE'};"
    )


_WHOLE: dict[str, Callable[[CatalogRow, CatalogRow], Statement | None]] = {
    "pg_constraint": _key,
    "pg_proc": _function,
    "pg_rewrite": _rewrite,
    "pg_policy": _policy,
    "pg_sequence": _sequence,
}


def _statistics(then: CatalogRow, before: str | None, _: Literal) -> str:
    return f"ALTER STATISTICS {then.name} SET STATISTICS {before or -1};"


def _marked(words: str) -> Callable[[CatalogRow, str | None, Literal], str | None]:
    def made(then: CatalogRow, before: str | None, _: Literal) -> str | None:
        relation, index = then.cells["indrelid"], str(then.cells["indexrelid"])
        return f"ALTER TABLE {relation} {words.format(_bare(index))};" if before == "t" else None

    return made


def _bare(identity: str) -> str:
    """The name without its schema, quoted as it was.

    >>> _bare('public.t'), _bare('"a.b"."c.d"'), _bare('"x ""y."."z"')
    ('t', '"c.d"', '"z"')
    """
    at, is_quoted = 0, False
    for place, letter in enumerate(identity):
        if letter == '"':
            is_quoted = not is_quoted
        elif letter == "." and not is_quoted:
            at = place + 1
    return identity[at:]


_COLUMNS: dict[tuple[str, str], Callable[[CatalogRow, str | None, Literal], Statement | str | None]] = {
    ("pg_class", "relrowsecurity"): _security,
    ("pg_class", "relforcerowsecurity"): _forced,
    ("pg_class", "relreplident"): _identity,
    ("pg_class", "relpersistence"): _logged,
    ("pg_class", "reltablespace"): _space,
    ("pg_class", "relispopulated"): _filled,
    ("pg_attribute", "attnotnull"): _of_column(lambda before: "SET NOT NULL" if before == "t" else "DROP NOT NULL", is_scan=True),
    ("pg_attribute", "attstorage"): _of_column(lambda before: f"SET STORAGE {_STORAGE[before or 'x']}"),
    ("pg_attribute", "attcompression"): _of_column(lambda before: f"SET COMPRESSION {_COMPRESSION.get(before or '', 'default')}"),
    ("pg_attribute", "attstattarget"): _of_column(lambda before: f"SET STATISTICS {before or -1}"),
    ("pg_trigger", "tgenabled"): _trigger,
    ("pg_rewrite", "ev_enabled"): _rule,
    ("pg_event_trigger", "evtenabled"): _event_trigger,
    ("pg_statistic_ext", "stxstattarget"): _statistics,
    ("pg_index", "indisclustered"): _marked("CLUSTER ON {}"),
    ("pg_index", "indisreplident"): _marked("REPLICA IDENTITY USING INDEX {}"),
}  # fmt: skip
