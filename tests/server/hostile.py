"""A database whose owner is ill-meaning: what it can leave where we connect, plan, read or write, each with a witness in the server's log.

Every object belongs to `owner`, who is no superuser. A witness names the role that its code ran as.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from own_cluster import OwnCluster

OWNER = "app_owner"
DATABASE = "hostile"
READER = "runbook_reader"

_WITNESS = "BEGIN RAISE LOG 'WITNESS {kind} % %', current_user, session_user; RETURN {value}; END"
_FOUND = re.compile(r"WITNESS (\S+) (\S+) (\S+)")


def function(name: str, kind: str, arguments: str, returns: str, value: str, more: str = "IMMUTABLE") -> str:
    body = _WITNESS.format(kind=kind, value=value)
    return f"CREATE FUNCTION public.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql {more} AS $$ {body}; $$"


#: Tables by the way in which reading or planning reaches the owner's function. Each holds the rows 1 to 20 in a column i unless it says otherwise.
PLANNED: dict[str, list[str]] = {
    "index_expression": ["CREATE INDEX ON public.{t} ((i + public.fold(7)))"],
    "index_predicate": ["CREATE INDEX ON public.{t} (i) WHERE i > public.fold(8) - 100"],
    "statistics": ["CREATE STATISTICS public.{t}_s ON (i + public.fold(9)), (i * public.fold(10)) FROM public.{t}"],
    "check_constraint": ["ALTER TABLE public.{t} ADD CHECK (i < 1000 + public.fold(11))"],
    "operator": ["CREATE INDEX ON public.{t} (i) WHERE i OPERATOR(public.===) 5"],
    "atomic_body": ["CREATE INDEX ON public.{t} (i) WHERE i > public.atomic(1) - 100"],
    "row_security": [
        "ALTER TABLE public.{t} ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE public.{t} FORCE ROW LEVEL SECURITY",
        "CREATE POLICY p ON public.{t} USING (i > public.fold(12) + 1000)",
    ],
}
#: Columns by the way in which printing or comparing a value reaches the owner's function.
PRINTED: dict[str, tuple[str, str]] = {
    "enum_cast": ("public.colour", "'red'"),
    "composite_cast": ("public.pair", "ROW(1, 2)"),
    "domain_check": ("public.checked", "5"),
    "range_difference": ("public.stretch", "'[1,5)'"),
    "array_of_enum": ("public.colour[]", "'{red,blue}'"),
    "nested": ("public.nest", "ROW('red', ROW(1, 2))"),
}


def fill_hostile(cluster: OwnCluster) -> None:
    """The database is there, and its owner has done its worst; the log says nothing of it yet."""
    cluster.sql("CREATE EXTENSION amcheck", f"CREATE ROLE {OWNER} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    cluster.sql("CREATE EXTENSION amcheck", f"GRANT CREATE ON SCHEMA public TO {OWNER}", database=DATABASE)
    statements = [
        f"SET SESSION AUTHORIZATION {OWNER}",
        function("fold", "planned", "integer", "integer", "1"),
        "CREATE FUNCTION public.atomic(integer) RETURNS integer IMMUTABLE BEGIN ATOMIC SELECT public.fold($1); END",
        function("same", "operator", "integer, integer", "boolean", "$1 = $2"),
        "CREATE OPERATOR public.=== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = public.same)",
        "CREATE TYPE public.colour AS ENUM ('red', 'blue')",
        function("colour_text", "cast", "public.colour", "text", "'constant'", "STABLE"),
        function("colour_json", "json", "public.colour", "json", "'\"x\"'", "STABLE"),
        "CREATE CAST (public.colour AS text) WITH FUNCTION public.colour_text(public.colour)",
        "CREATE CAST (public.colour AS json) WITH FUNCTION public.colour_json(public.colour)",
        "CREATE TYPE public.pair AS (a integer, b integer)",
        function("pair_text", "cast", "public.pair", "text", "'constant'", "STABLE"),
        "CREATE CAST (public.pair AS text) WITH FUNCTION public.pair_text(public.pair)",
        "CREATE DOMAIN public.checked AS integer CHECK (VALUE > public.fold(13))",
        function("apart", "range", "integer, integer", "float8", "1"),
        "CREATE TYPE public.stretch AS RANGE (subtype = integer, subtype_diff = public.apart)",
        "CREATE TYPE public.nest AS (c public.colour, p public.pair)",
        # Rows of a type of its own, without a column that can be hashed as it is.
        "CREATE TABLE public.fees (amount numeric)",
        "INSERT INTO public.fees VALUES (1.5), (2.5), (3.5)",
        function("fees_text", "row_cast", "public.fees", "text", "'constant'", "STABLE"),
        "CREATE CAST (public.fees AS text) WITH FUNCTION public.fees_text(public.fees)",
    ]
    for name, extra in PLANNED.items():
        statements += [
            f"CREATE TABLE public.{name} (i integer)",
            f"INSERT INTO public.{name} SELECT g FROM generate_series(1, 20) AS g",
            *(line.format(t=name) for line in extra),
        ]
    for name, (kind, value) in PRINTED.items():
        statements += [
            f"CREATE TABLE public.{name} (v {kind})",
            f"INSERT INTO public.{name} VALUES ({value}), ({value})",
        ]
    statements += [
        # Shadows of what checks and figures are made of.
        function("count_step", "aggregate", "bigint", "bigint", "0", ""),
        "CREATE AGGREGATE public.count(*) (SFUNC = public.count_step, STYPE = bigint, INITCOND = '0')",
        function("count_some", "aggregate", "bigint, bigint", "bigint", "0", ""),
        "CREATE AGGREGATE public.count(bigint) (SFUNC = public.count_some, STYPE = bigint, INITCOND = '0')",
        function("format", "function", "text, text", "text", "'constant'"),
        "CREATE VIEW public.seen AS SELECT public.fold(14) AS i",
        "CREATE MATERIALIZED VIEW public.kept AS SELECT public.fold(15) AS i",
        "CREATE TABLE public.computed (i integer, g integer GENERATED ALWAYS AS (i * 2) STORED)",
        "INSERT INTO public.computed (i) VALUES (1), (2)",
        "CREATE INDEX ON public.computed ((i + public.fold(17)))",
        "CREATE TABLE public.parted (i integer) PARTITION BY RANGE ((i + public.fold(16)))",
        "CREATE TABLE public.parted_one PARTITION OF public.parted FOR VALUES FROM (0) TO (100)",
        "INSERT INTO public.parted_one VALUES (3), (4)",
    ]
    cluster.sql(*statements, database=DATABASE)


def make_reader(cluster: OwnCluster, *databases: str) -> None:
    """The role that reads tables, by the statements that are documented; params name its connection."""
    from runbook.postgres.sqlfiles import load_sql

    text = load_sql("reader/list_grants").text.replace("$1", f"'{READER}'")
    for database in ("template1", "postgres", *databases):
        for _, statement, holds, _ in cluster.sql(text, database=database):
            if not holds:
                cluster.sql(statement, database=database)
    (cluster.home / "reader").write_text(f"host={cluster.socket} port=5432 user={READER} dbname=postgres\n")
    (cluster.home / "reader").chmod(0o600)
    cluster.changed.setdefault("cluster", {})["reader"] = {"file": "reader"}


@dataclass(frozen=True)
class Witnessed:
    """What the owner's code said it ran as."""

    kind: str
    current: str
    session: str


def witnesses_in(log: bytes) -> set[Witnessed]:
    return {Witnessed(*found) for found in _FOUND.findall(log.decode(errors="replace"))}


class Log:
    """What a server's log says from here on."""

    def __init__(self, cluster: OwnCluster) -> None:
        self._path = cluster.log
        self._from = self._path.stat().st_size

    def witnesses(self) -> set[Witnessed]:
        return witnesses_in(self._path.read_bytes()[self._from :])
