"""Columns of generated tables: types that copying back must keep, with an expression for the value of row g; and odd names."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from runbook.postgres.connect import quote

#: Of type, expression of g, and another value for an UPDATE. The schema types come from `TYPES`.
KINDS: tuple[tuple[str, str, str], ...] = (
    ("text", "'v' || g", "'changed'"),
    ("text", r"CASE g % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'tab\t\\N new\nline' ELSE 'é ''quoted'' ' || g END", "NULL"),
    ("varchar(40)", "'w' || g % 7", "'x'"),
    ("int", "g * 3", "-1"),
    ("bigint", "g * 1000000007::bigint", "0"),
    ("numeric", "CASE g % 5 WHEN 0 THEN 'NaN'::numeric WHEN 1 THEN 1.10 ELSE g / 3.0 END", "'NaN'"),
    ("numeric(12,4)", "g / 7.0", "0"),
    ("float8", "CASE g % 4 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN '-0'::float8 ELSE g / 3.0 END", "'-Infinity'"),
    ("bytea", r"decode(md5(g::text), 'hex') || '\x005c'::bytea", r"'\x00'"),
    ("json", """('{"b": ' || g || ',  "b":2}')::json""", "'{}'"),
    ("jsonb", """jsonb_build_object('a', g, 'n', NULL)""", "'[]'"),
    ("int[]", "ARRAY[g, NULL, 3]", "'{}'"),
    ("text[]", """ARRAY['', NULL, 'a "b"', 'x' || g]""", "NULL"),
    ("timestamptz", "'2024-01-01 12:00:00.123456+02'::timestamptz + g * interval '1 hour'", "'infinity'"),
    ("date", "'2024-01-01'::date + g", "'2020-01-01'"),
    ("interval", "g * interval '1 day 2 seconds'", "'1 mon'"),
    ("bool", "g % 3 = 0", "NULL"),
    ("uuid", "md5(g::text)::uuid", "NULL"),
    ("inet", "'10.0.0.1/8'::inet + g", "NULL"),
    ("int4range", "int4range(g, g + 5)", "'empty'"),
    ("bit(3)", "(g % 8)::bit(3)", "B'000'"),
    ("char(5)", "'c' || g % 9", "''"),
    ("text", "repeat(md5(g::text), 1 + (g % 5) * 60)", "repeat('z', 9000)"),
    ("kinds.mood", "(ARRAY['happy','very sad']::kinds.mood[])[g % 2 + 1]", "'happy'"),
    ("kinds.plate", "'A' || g", "'Z'"),
    ("kinds.pair", "ROW(g, 'a,b')::kinds.pair", "NULL"),
    ("kinds.span", "kinds.span(g, g + 2)", "NULL"),
)  # fmt: skip

TYPES = (
    "CREATE SCHEMA kinds",
    "GRANT USAGE ON SCHEMA kinds TO PUBLIC",
    "CREATE TYPE kinds.mood AS ENUM ('happy', 'very sad')",
    "CREATE DOMAIN kinds.plate AS text CHECK (VALUE ~ '^[A-Z]')",
    "CREATE TYPE kinds.pair AS (a int, b text)",
    "CREATE TYPE kinds.span AS RANGE (subtype = int4)",
)

_PLAIN = ("customer", "orders", "line", "item", "visit", "price", "team", "person", "tree", "note", "stock", "ledger")
_ODD = (
    "Order Lines", "select", 'odd"name', "ünï", "a.b", "x" * 60, "UPPER", "semi;colon", "it's", "dollar$", "100%",
    "back\\slash", "user", "column",
)  # fmt: skip


def table_name(draw: Random, taken: set[str]) -> str:
    """A name that is not taken yet; every fifth is odd."""
    while True:
        name = draw.choice(_ODD if draw.random() < 0.2 else _PLAIN)
        if name in taken:
            name = f"{name[:50]}_{len(taken)}"
        if name not in taken:
            taken.add(name)
            return name


@dataclass(frozen=True)
class Column:
    """A column: `value` is an expression of g, `other` the value of an UPDATE without sense. `rest` follows the type."""

    name: str
    type: str
    value: str
    other: str
    rest: str = ""
    #: Identity ALWAYS and generated columns take no value.
    is_given: bool = True

    @property
    def sql(self) -> str:
        return f"{quote(self.name)} {self.type} {self.rest}".strip()


def plain_columns(draw: Random, most: int) -> list[Column]:
    """Some columns of random types, with defaults and NOT NULL where the values allow it."""
    found = []
    for number in range(draw.randint(1, most)):
        type_, value, other = draw.choice(KINDS)
        name = draw.choice((f"c{number}", f"Col {number}", f"c{number}"))
        never_null = "NULL" not in value and other != "NULL"
        rest = draw.choice(("", "", "NOT NULL" if never_null else "", f"DEFAULT {other}"))
        found.append(Column(name, type_, value, other, rest))
    return found
