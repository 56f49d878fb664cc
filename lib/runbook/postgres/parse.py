"""PostgreSQL's own scanner and grammar: the only module that imports libpg_query's binding.

A text is understood here as the server understands it, whatever strings, comments, dollar quotes and escapes it holds; nothing of it is
run. What a statement names is listed as it is written: the types of its expressions are not known here, and nothing is guessed of them.

Source: libpg_query 18 (PostgreSQL 18's gram.y and scan.l), under settings that every session of ours pins: standard_conforming_strings = on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2

from runbook.postgres import rawtext

#: A deeper or longer text is no check that somebody reads; the parser's own stack ends far behind these.
MOST_BYTES = 64 << 10
MOST_TOKENS = 10_000
#: Unseen characters by which a text reads otherwise than it runs: the byte order mark, and those that turn the writing direction.
_UNSEEN = re.compile("[\x00\ufeff\u202a-\u202e\u2066-\u2069]")
_VARIABLE = re.compile(r"'?([a-z_][a-z0-9_]*)'?")

Name = tuple[str, ...]


class NotUnderstood(Exception):
    """The text is no SQL of PostgreSQL's; the message says where."""


@dataclass(frozen=True)
class Token:
    """`start` and `end` count bytes of UTF-8."""

    kind: str
    start: int
    end: int


@dataclass
class Statement:
    """What one statement names. Each name is its parts: `("pg_catalog", "count")`, or one part where the search path decides.

    `kind`: 'select' for SELECT, WITH, VALUES and TABLE, else the grammar's word. `writes`: why it is not read only, by the grammar.
    `fields`: names after a dot, which may be calls, too: `(x).upper` is `upper(x)`. `columns`: every name that may be a column's;
    `takes_rows`: it may read columns that it does not name: by `*`, by a row as a whole, by NATURAL JOIN, or by names of its own for columns.
    """

    kind: str
    writes: list[str] = field(default_factory=list)
    relations: list[Name] = field(default_factory=list)
    functions: list[Name] = field(default_factory=list)
    operators: list[Name] = field(default_factory=list)
    types: list[Name] = field(default_factory=list)
    others: list[Name] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    takes_rows: bool = False
    _row_names: set[str] = field(default_factory=set)
    _single: set[str] = field(default_factory=set)
    _named_by_with: set[str] = field(default_factory=set)


def scan(text: str) -> list[Token]:
    """The tokens, comments among them.

    Raises:
        NotUnderstood: it does not end as it should, is too long, or holds an unseen character.
    """
    unseen = _UNSEEN.search(text)
    if unseen is not None:
        raise NotUnderstood(f"it holds the unseen character U+{ord(unseen[0]):04X} at character {unseen.start() + 1}")
    if len(text.encode()) > MOST_BYTES:
        raise NotUnderstood(f"it has more than {MOST_BYTES >> 10} KiB")
    try:
        found = postgast.scan(text).tokens
    except postgast.PgQueryError as problem:
        raise NotUnderstood(_said(text, problem)) from None
    if len(found) > MOST_TOKENS:
        raise NotUnderstood(f"it has more than {MOST_TOKENS} words and signs")
    return [Token(pg_query_pb2.Token.Name(token.token), token.start, token.end) for token in found]


def variables(text: str) -> Iterator[tuple[str, int, int, bool]]:
    """psql's variables, `:name` and `:'name'`: name, first byte, byte behind the last, and whether a dot follows (a schema's place).

    >>> list(variables("SELECT :a, :'b'::text, ':c', $$:d$$, x[1:2], :e.f -- :g"))
    [('a', 7, 9, False), ('b', 11, 15, False), ('e', 45, 47, True)]

    Raises:
        NotUnderstood: as `scan`.
    """
    data, tokens = text.encode(), scan(text)
    for place, token in enumerate(tokens[:-1]):
        after = tokens[place + 1]
        if token.kind != "ASCII_58" or after.start != token.end:
            continue
        word = data[after.start : after.end].decode()
        match = _VARIABLE.fullmatch(word)
        if (
            match is None
            or word.startswith("'") != (after.kind == "SCONST")
            or word.startswith("'") != word.endswith("'")
        ):
            continue
        is_schema = after.kind != "SCONST" and tokens[place + 2 : place + 3] == [
            Token("ASCII_46", after.end, after.end + 1)
        ]
        yield match[1], token.start, after.end, is_schema


def parse(text: str) -> list[Statement]:
    """The statements of the text, in order.

    Names may hold bytes that are not UTF-8, as `rawtext` reads them.

    Raises:
        NotUnderstood: it is no SQL, or nested too deeply.
    """
    plain = rawtext.in_private(text)
    if plain != text:
        return [_translated(statement) for statement in parse(plain)]
    scan(text)
    try:
        tree = postgast.parse(text)
    except postgast.PgQueryError as problem:
        raise NotUnderstood(_said(text, problem)) from None
    except DecodeError:
        raise NotUnderstood("its expressions are nested too deeply") from None
    found = []
    for raw in tree.stmts:
        node = getattr(raw.stmt, str(raw.stmt.WhichOneof("node")))
        statement = Statement(_kind(node))
        _visit(node, statement)
        statement.relations = [
            name for name in statement.relations if len(name) > 1 or name[0] not in statement._named_by_with
        ]
        statement.takes_rows = statement.takes_rows or not statement._single.isdisjoint(statement._row_names)
        found.append(statement)
    return found


def _translated(statement: Statement) -> Statement:
    """Put the half characters back into its names, which the grammar does not take."""
    for name in ("relations", "functions", "operators", "types", "others"):
        words = [tuple(map(rawtext.from_private, one)) for one in getattr(statement, name)]
        setattr(statement, name, words)
    for name in ("fields", "columns"):
        setattr(statement, name, set(map(rawtext.from_private, getattr(statement, name))))
    return statement


def split_list(text: str) -> list[str]:
    """The parts between commas that stand in no parentheses and in no quotes.

    >>> split_list('app.f(int, text), app."a,b"')
    ['app.f(int, text)', 'app."a,b"']

    Raises:
        NotUnderstood: as `scan`.
    """
    data, parts, depth, begin = text.encode(), [], 0, 0
    for token in scan(text):
        depth += {"ASCII_40": 1, "ASCII_41": -1}.get(token.kind, 0)
        if token.kind == "ASCII_44" and depth == 0:
            parts.append(data[begin : token.start].decode())
            begin = token.end
    return [part.strip() for part in [*parts, data[begin:].decode()] if part.strip()]


def _said(text: str, problem: postgast.PgQueryError) -> str:
    before = text.encode()[: max(problem.cursorpos - 1, 0)].decode(errors="replace")
    return f"{problem.message} (line {before.count(chr(10)) + 1} of the statement)"


def _kind(node: Any) -> str:
    return str(node.DESCRIPTOR.name).removesuffix("Stmt").lower()


def _words(nodes: Any) -> Name:
    return tuple(node.string.sval for node in nodes if node.HasField("string"))


def _visit(node: Any, found: Statement) -> None:
    _note(node, found)
    for descriptor, value in node.ListFields():
        if descriptor.message_type is None:
            continue
        for child in [value] if hasattr(value, "DESCRIPTOR") else value:
            _visit(child, found)


def _note(node: Any, found: Statement) -> None:
    """What this node of the tree names itself."""
    kind = node.DESCRIPTOR.name
    if kind in (
        "RangeVar",
        "RangeSubselect",
        "JoinExpr",
        "RangeTableSample",
    ):  # what a function returns is no row of a table
        for alias in (
            getattr(node, name) for name in ("alias", "join_using_alias") if name in node.DESCRIPTOR.fields_by_name
        ):
            found._row_names.add(alias.aliasname)
            found.takes_rows = found.takes_rows or bool(alias.colnames)
    if kind.endswith("Stmt") and kind not in ("SelectStmt", "RawStmt"):
        found.writes.append(kind.removesuffix("Stmt").upper())
    elif kind == "IntoClause":
        found.writes.append("SELECT INTO")
    elif kind == "LockingClause":
        found.writes.append("FOR UPDATE, FOR SHARE or their like")
    elif kind == "RangeVar":
        found.relations.append(tuple(filter(None, (node.catalogname, node.schemaname, node.relname))))
        found._row_names.add(node.relname)
    elif kind == "A_Star":
        found.takes_rows = True
    elif kind == "JoinExpr":
        found.takes_rows = found.takes_rows or node.is_natural
        found.columns.update(_words(node.using_clause))
    elif kind == "CommonTableExpr":
        found._named_by_with.add(node.ctename)
        found._row_names.add(node.ctename)
        found.takes_rows = found.takes_rows or bool(node.aliascolnames)
    elif kind == "FuncCall":
        found.functions.append(_words(node.funcname))
    elif kind == "A_Expr":
        found.operators.append(_words(node.name))
    elif kind in ("SubLink", "SortBy"):
        found.operators += filter(None, [_words(node.oper_name if kind == "SubLink" else node.use_op)])
    elif kind == "TypeName":
        found.types.append(_words(node.names))
    elif kind == "CollateClause":
        found.others.append(_words(node.collname))
    elif kind == "RangeTableSample":
        found.others.append(_words(node.method))
    elif kind == "ColumnRef":
        words = _words(node.fields)
        found.fields.update(words[1:])
        found.columns.update(words)
        if len(words) == 1:
            found._single.update(words)
    elif kind == "A_Indirection":
        found.fields.update(_words(node.indirection))
