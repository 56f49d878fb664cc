"""SQL files: one statement each, with a header that says what it is for.

The header is the comment lines at the top: `-- key: value`. Known keys are in `KEYS`; another one is refused,
so that a misspelt expectation cannot silently check nothing. Variables are psql's, `:'name'` or `:name`, so that the
file runs in psql as it is; here they are bound by the server. An object of an extension is written `:extension.object` where the header
has `-- needs: extension:extension`: the schema is looked up in each database. What is one statement is decided by PostgreSQL's own grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runbook import layout, texts
from runbook.errors import ParamsError
from runbook.params.loading import nearest
from runbook.postgres import parse
from runbook.postgres.connect import quote

KEYS = (
    "purpose",
    "expect",
    "severity",
    "unit",
    "why",
    "next",
    "params",
    "columns",
    "privilege",
    "source",
    "suite",
    "database",
    "title",
    "scope",
    "rank",
    "needs",
    "given",
    "threshold",
    "warning",
    "critical",
    "any",
    "exhausts",
    "uses",
    "maximum",
    "about",
)
_HEADER = re.compile(r"^--\s*([a-z]+)\s*:\s*(.*)$")
_EXTENSION = "extension:"


@dataclass(frozen=True)
class SqlFile:
    """One statement with its header; `text` has $1, $2 … in the order of `variables`.

    `uses`: what is used of functions, operators and types outside pg_catalog, as the header names it: `app.f(int)`. `pieces`: the text
    around the schemas of extensions, which stand in its odd places by the extensions' names.
    """

    path: Path
    header: dict[str, tuple[str, ...]]
    text: str
    source: str
    variables: tuple[str, ...]
    statement: parse.Statement
    pieces: tuple[str, ...]
    uses: tuple[str, ...] = ()

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions whose schemas the text needs."""
        return tuple(dict.fromkeys(self.pieces[1::2]))

    def placed(self, schemas: Mapping[str, str]) -> tuple[str, parse.Statement]:
        """Return the text with the schemas of its extensions, and what it names then."""
        text = "".join(piece if at % 2 == 0 else quote(schemas[piece]) for at, piece in enumerate(self.pieces))
        return text, parse.parse(text)[0]

    def get(self, key: str, default: str = "") -> str:
        """The header's value, several lines of the same key joined."""
        return " ".join(self.header.get(key, ())) or default

    def values(self, given: dict[str, object]) -> list[object]:
        """The variables' values in order.

        Raises:
            ParamsError: the file wants a variable that nobody gives.
        """
        for name in self.variables:
            if name not in given:
                raise ParamsError(
                    f"{layout.short(self.path)} wants :{name}; {nearest(name, given)}",
                    next="Correct the file, or add the value under the thresholds in the params file.",
                )
        return [given[name] for name in self.variables]


def bind_variables(text: str, extensions: Iterable[str] = ()) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """psql's variables become $n; one that stands for an extension's schema becomes a name in quotes, which `SqlFile.placed` replaces.

    Returns:
        the text; the variables' names; the text's pieces around the extensions' schemas, with the extensions' names in between.

    >>> bind_variables("select x::int from t where a < :'day' and b = :n and c = ':no' and d > :'day'")[:2]
    ("select x::int from t where a < $1 and b = $2 and c = ':no' and d > $1", ('day', 'n'))

    Raises:
        NotUnderstood: the text is not SQL's, or names an extension's schema that the header does not.
    """
    data, names, pieces, at = text.encode(), list[str](), [""], 0
    known = {name.replace("-", "_"): name for name in extensions}
    for name, start, end, is_schema in parse.variables(text):
        pieces[-1] += data[at:start].decode()
        at = end
        if is_schema:
            if name not in known:
                raise parse.NotUnderstood(
                    f":{name}. stands for an extension's schema, and the header has no 'needs: {_EXTENSION}{name}'"
                )
            pieces += [known[name], ""]
            continue
        if name not in names:
            names.append(name)
        pieces[-1] += f"${names.index(name) + 1}"
    pieces[-1] += data[at:].decode()
    placed = "".join(piece if place % 2 == 0 else quote(_EXTENSION + piece) for place, piece in enumerate(pieces))
    return placed, tuple(names), tuple(pieces)


def _read_header(source: str, where: str) -> tuple[dict[str, tuple[str, ...]], str]:
    """The header's values by key, and what follows it.

    Raises:
        ParamsError: a key that nobody reads; with its line.
    """
    header: dict[str, list[str]] = {}
    last, body_at, lines = None, 0, source.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.startswith("--"):
            if line.strip():
                break
            continue
        body_at = number
        match = _HEADER.match(line)
        if match is None:
            if last is not None:
                header[last][-1] += " " + line[2:].strip()
            continue
        last = match[1]
        if last not in KEYS:
            raise ParamsError(
                f"{where}:{number}: unknown header '{last}'; {nearest(last, KEYS)}",
                next="A continued line must not look like 'key: value'.",
            )
        header.setdefault(last, []).append(match[2].strip())
    return {key: tuple(value) for key, value in header.items()}, "\n".join(lines[body_at:])


def parse_sql(path: Path) -> SqlFile:
    """The file as a statement with its header.

    Raises:
        ParamsError: unknown header key, no statement, more than one, or no SQL; with the file.
    """
    where = layout.short(path)
    source = texts.read_utf8(path, parse.MOST_BYTES)
    header, body = _read_header(source, where)
    body = body.strip().removesuffix(";").strip()
    try:
        parse.scan(source)
        text, variables, pieces = bind_variables(body, _needed(header))
        statements = parse.parse(text)
        uses = tuple(parse.split_list(" ".join(header.get("uses", ()))))
    except parse.NotUnderstood as problem:
        raise ParamsError(
            f"{where} is not one statement of SQL: {problem}.", next="Correct the file, or remove it."
        ) from None
    if not statements:
        raise ParamsError(f"{where}: the file holds no statement.", next="Add one SELECT, or remove the file.")
    if len(statements) > 1:
        raise ParamsError(f"{where}: more than one statement; a file holds one.", next="Split the file.")
    return SqlFile(path, header, text, source, variables, statements[0], pieces, uses)


def require_read_only(file: SqlFile) -> None:
    """Refuse a check file that is more than one SELECT, WITH, VALUES or TABLE, or that leaves it open which relation it means.

    Raises:
        ParamsError: it is, with the reason.
    """
    where, statement = layout.short(file.path), file.statement
    if statement.writes or statement.kind != "select":
        raise ParamsError(
            f"{where} is not read only: it holds {(statement.writes or [statement.kind.upper()])[0]}.",
            next="A check is one SELECT, WITH, VALUES or TABLE. Correct the file, or remove it.",
        )
    for name in statement.relations:
        if len(name) == 1:
            places = [f":{needed.replace('-', '_')}" for needed in _needed(file.header)] or ["public", "pg_catalog"]
            raise ParamsError(
                f"{where} names the relation {name[0]} without its schema.",
                next=f"Write it with its schema, such as {' or '.join(f'{place}.{name[0]}' for place in places)}.",
            )


def _needed(header: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The extensions among what the header needs."""
    words = (word.strip() for word in " ".join(header.get("needs", ())).split(","))
    return [word.removeprefix(_EXTENSION) for word in words if word.startswith(_EXTENSION)]


@lru_cache(maxsize=256)
def load_sql(name: str) -> SqlFile:
    """`sql/<name>.sql`, such as `load_sql("fence/list_relations")`.

    Raises:
        ParamsError: it is missing or wrong.
    """
    return parse_sql(layout.sql() / f"{name}.sql")
