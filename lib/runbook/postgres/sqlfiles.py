"""SQL files: one statement each, with a header that says what it is for.

The header is the comment lines at the top: `-- key: value`. Known keys are in `KEYS`; another one is refused,
so that a misspelt expectation cannot silently check nothing. Variables are psql's, `:'name'` or `:name`, so that the
file runs in psql as it is; here they are bound by the server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runbook import layout, texts
from runbook.errors import ParamsError
from runbook.params.loading import nearest

#: The most bytes of a file: the whole sql folder has fewer.
_LARGEST = 1 << 20
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
)
_HEADER = re.compile(r"^--\s*([a-z]+)\s*:\s*(.*)$")
_TOKEN = re.compile(
    r"""
      (?P<skip> '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | :: )
    | :'(?P<quoted>[a-z_][a-z0-9_]*)'
    | :(?P<plain>[a-z_][a-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class SqlFile:
    """One statement with its header; `text` has $1, $2 … in the order of `variables`."""

    path: Path
    header: dict[str, tuple[str, ...]]
    text: str
    source: str
    variables: tuple[str, ...]

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


def bind_variables(text: str) -> tuple[str, tuple[str, ...]]:
    """psql variables become $n.

    >>> bind_variables("select x::int from t where a < :'day' and b = :n and c = ':no' and d > :'day'")
    ("select x::int from t where a < $1 and b = $2 and c = ':no' and d > $1", ('day', 'n'))
    """
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match["skip"] is not None:
            return match[0]
        name = match["quoted"] or match["plain"]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _TOKEN.sub(replace, text), tuple(names)


def parse_sql(path: Path) -> SqlFile:
    """The file as a statement with its header.

    Raises:
        ParamsError: unknown header key, no statement, or more than one; with file and line.
    """
    where = layout.short(path)
    source = texts.read_utf8(path, _LARGEST)
    header: dict[str, list[str]] = {}
    last = None
    body_at = 0
    for number, line in enumerate(source.splitlines(), 1):
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
    body = "\n".join(source.splitlines()[body_at:]).strip().removesuffix(";").strip()
    if not body:
        raise ParamsError(f"{where}: the file holds no statement.", next="Add one SELECT, or remove the file.")
    bare = _TOKEN.sub(lambda m: " " if m["skip"] else m[0], body)
    if ";" in bare:
        raise ParamsError(f"{where}: more than one statement; a file holds one.", next="Split the file.")
    text, variables = bind_variables(body)
    return SqlFile(path, {key: tuple(value) for key, value in header.items()}, text, source, variables)


@lru_cache(maxsize=256)
def load_sql(name: str) -> SqlFile:
    """`sql/<name>.sql`, such as `load_sql("fence/list_relations")`.

    Raises:
        ParamsError: it is missing or wrong.
    """
    return parse_sql(layout.sql() / f"{name}.sql")
