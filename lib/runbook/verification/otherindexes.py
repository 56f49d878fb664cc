"""Indexes of other kinds than btree, which pg_amcheck does not look into: each row is asked for by its own key, through the index.

A row that the heap has and the index does not find is damage of the index: a query would not see it either. Of hash, GiST, SP-GiST and GIN
each row is asked for by its first key; of BRIN the least and the greatest of each range of pages, since a summary that holds both holds
all. From PostgreSQL 18 on amcheck looks into GIN, too (gin_index_check). What cannot be asked for is named, with the reason. An index
that was built again would prove the data, and nothing of the restored index.

Queries are planned as the reader, in a copy that reaches nothing but itself; a superuser plans on no relation that reaches a function of
its owner's.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Any

from runbook.errors import NotMeasured
from runbook.model import Check, Finding, Severity, Status
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres import causes, closure
from runbook.postgres.batch import Batch
from runbook.postgres.connect import Connection, SqlError, one, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.verification.content import is_no_evidence

#: Longest time for one index, seconds: a key that most rows share makes the question quadratic.
_SECONDS = 20
#: As long after it nobody waits for the server to give up.
_SECONDS_TO_CANCEL = 10
#: Longest time for those of one database; what is left then is named.
_SECONDS_IN_ALL = 90
_MOST_FINDINGS = 50
#: SQLSTATE of damage: data or index corrupted, a file that is gone or cannot be read.
_DAMAGED = ("XX001", "XX002", "58P01", "58030")
_BY_INDEX = (
    "SET enable_seqscan = off; SET enable_sort = on; SET enable_indexscan = on; SET enable_bitmapscan = on; SET enable_indexonlyscan = off; SET enable_tidscan = off; "
    "SET max_parallel_workers_per_gather = 0; SET jit = off"
)


@dataclass(frozen=True)
class Missed:
    """Nothing is known of an index."""

    why: str
    is_odd: bool = False  # an error for which no healthy index is known


@dataclass(frozen=True)
class Wrong:
    """An index is damaged."""

    words: str


Judged = Wrong | Missed | None


@dataclass
class OtherIndexes:
    """What was seen of the indexes of one database. `missed`: those that were not looked into, each with its kind and the reason."""

    database: str
    checked: set[int] = field(default_factory=set)
    wrong: list[Finding] = field(default_factory=list)
    odd: list[Finding] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self) -> Check | None:
        """Return the check; None where there is no such index that could be looked into."""
        if not self.checked:
            return None
        common: dict[str, Any] = {
            "id": f"indexes@{self.database}",
            "title": "Indexes of other kinds than btree find the rows of their tables",
            "expected": "each row found by its key",
            "object": self.database,
            "severity": Severity.CRITICAL,
            "source": "queries by the index, gin_index_check",
            "seconds": self.seconds,
        }
        found = self.wrong or self.odd
        if not found:
            return Check(**common, status=Status.PASS, observed=f"all, in {len(self.checked)} indexes")
        return Check(
            **common,
            status=Status.FAIL if self.wrong else Status.UNKNOWN,
            observed=f"{len(found)} of {len(self.checked)} indexes {'do not' if self.wrong else 'cannot be asked'}",
            findings=tuple(found[:_MOST_FINDINGS]),
            reason=f"{found[0].object}: {found[0].message}",
            next="Look whether production's index has it too (REINDEX there); the rows themselves are proven by the other checks.",
        )

    def take(self, index: Mapping[str, Any], judged: Judged) -> None:
        """Count what was found of one index; None: all of it is as it should be."""
        if isinstance(judged, Missed) and not judged.is_odd:
            self.missed.append(f"{index['title']} ({index['method']}: {judged.why})")
            return
        self.checked.add(index["oid"])
        if judged is not None:
            words = judged.words if isinstance(judged, Wrong) else judged.why
            finding = Finding(
                id="indexes",
                object=f"{self.database}.{index['title']}",
                severity=Severity.CRITICAL,
                observed=words,
                expected="each row found by its key",
                message=words,
            )
            (self.wrong if isinstance(judged, Wrong) else self.odd).append(finding)


def check_other_indexes(scratch: Scratch, database: str) -> OtherIndexes:
    """Return what the indexes of other kinds than btree find of their tables' rows.

    Raises:
        PlatformError: the server accepts no connection.
        SqlError: the catalogs cannot be read.
    """
    began, seen = time.monotonic(), OtherIndexes(database)
    with scratch.connect(database) as connection:
        indexes = rows(connection, load_sql("integrity/list_other_indexes").text)
        if not indexes:
            return seen
        untrusted = closure.untrusted(connection) if scratch.reader is None else {}
        inspect = _gin_inspector(connection)
    with _Asker(lambda: scratch.connect(database, statement_timeout=_SECONDS)) as asker:
        for index in indexes:
            if index["method"] == "gin" and index["is_open"] and inspect is not None:
                seen.take(index, asker.judge(partial(_inspect, inspect), index))
    with _Asker(partial(_open, scratch, database)) as asker:
        for index in indexes:
            if index["method"] == "gin" and index["operator"] is None and inspect is not None:
                continue  # amcheck has looked into it
            why = _why_not(index, untrusted)
            if time.monotonic() - began > _SECONDS_IN_ALL:
                why = f"the others took {_SECONDS_IN_ALL} s"
            seen.take(index, asker.judge(_ask, index) if why is None else Missed(why))
    seen.seconds = time.monotonic() - began
    return seen


def _open(scratch: Scratch, database: str) -> Connection:
    connection = scratch.connect_reader(database, statement_timeout=_SECONDS)
    connection.execute(_BY_INDEX)
    return connection


class _Asker:
    """Asks in a session of its own, with a deadline that holds from outside: in a damaged index a search may go round for ever, where no
    statement_timeout reaches it. The session is left then; it ends with the copy's server."""

    def __init__(self, open_session: Callable[[], Connection]) -> None:
        self._connection: Connection | None = open_session()

    def __enter__(self) -> _Asker:
        return self

    def __exit__(self, *cause: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def judge(self, ask: Callable[[Connection, Mapping[str, Any]], Judged], index: Mapping[str, Any]) -> Judged:
        """Return what was found of the index.

        Raises:
            SqlError: the connection was lost.
        """
        connection, answer = self._connection, list[Judged | SqlError]()
        if connection is None:
            return Missed("the server has not come back from a search in another index")

        def work() -> None:
            try:
                answer.append(_judged(connection, ask, index))
            except SqlError as cause:
                answer.append(cause)

        thread = Thread(target=work, daemon=True)
        thread.start()
        thread.join(_SECONDS + _SECONDS_TO_CANCEL)
        if thread.is_alive():
            # Ended, not closed: the number of a closed one would be given to the next connection, which the thread would then wait on.
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
            thread.join(_SECONDS_TO_CANCEL)
            if not thread.is_alive():
                connection.close()
            self._connection = None
            return Missed("the server does not come back from a search in it, and cannot be interrupted", is_odd=True)
        if not answer:
            raise NotMeasured(f"Asking for the rows by the index {index['title']} ended without an answer.")
        if isinstance(answer[0], SqlError):
            raise answer[0]
        return answer[0]


def _gin_inspector(connection: Connection) -> str | None:
    """The statement by which amcheck looks into a GIN index; None where the extension cannot."""
    found = rows(connection, load_sql("integrity/read_amcheck").text)
    if not found or found[0]["shadows"]:
        return None
    name = f"{quote(found[0]['schema'])}.gin_index_check"
    there = one(connection, "SELECT pg_catalog.to_regprocedure($1) IS NOT NULL AS n", [f"{name}(regclass)"])["n"]
    return f"SELECT {name}($1::bigint::oid::regclass)" if there else None


def _inspect(statement: str, connection: Connection, index: Mapping[str, Any]) -> Judged:
    rows(connection, statement, [index["oid"]])
    return None


def _why_not(index: Mapping[str, Any], untrusted: Mapping[int, str]) -> str | None:
    if not index["is_open"]:
        return "its table cannot be read while in recovery"
    if index["relation_oid"] in untrusted:
        return f"planning on its table would run {untrusted[index['relation_oid']]}"
    if index["method"] == "brin" and index["pages_per_range"] is None:
        return "its summaries are no minimum and maximum"
    return None if index["operator"] is not None else "its operators ask for nothing that a row's own key answers"


def _judged(
    connection: Connection, ask: Callable[[Connection, Mapping[str, Any]], Judged], index: Mapping[str, Any]
) -> Judged:
    """None where all rows are found, `Wrong` or `Missed` otherwise.

    Raises:
        SqlError: the connection was lost.
    """
    try:
        return ask(connection, index)
    except SqlError as problem:
        if connection.closed:
            raise
        words = causes.words_of(problem)
        if problem.sqlstate in _DAMAGED and not is_no_evidence(words):
            return Wrong(words)
        return Missed(words, is_odd=problem.sqlstate == "XX000")
    except NotMeasured as problem:
        return Missed(problem.message)


def _ask(connection: Connection, index: Mapping[str, Any]) -> Judged:
    """What is missing when each row is asked for through the index; None: nothing.

    Raises:
        NotMeasured: the planner takes another way.
        SqlError: what the server said.
    """
    table = f"ONLY {quote(index['schema'])}.{quote(index['relation'])}"
    key, holds = index["key"], f"({index['predicate']})" if index["predicate"] is not None else "true"
    # Read from the heap: neither the index itself nor another one serves a condition in coalesce, or an order across OFFSET.
    source = f"SELECT {key} AS key, t.ctid AS place FROM {table} AS t WHERE coalesce({holds} AND {key} IS NOT NULL, false) OFFSET 0"
    found = f"FROM (SELECT {key} AS key, t.ctid AS place FROM {table} AS t WHERE {holds}) AS f WHERE f.key {index['operator']} d.key"
    lost = "count(*) FILTER (WHERE n.rows = 0)"
    if index["method"] == "brin":
        part = f"((%s.place::text::point)[0]::bigint / {index['pages_per_range']})"
        each = f"SELECT {part % 's'} AS part, min(s.key) AS low, max(s.key) AS high FROM ({source}) AS s GROUP BY 1"
        asked = (
            f"SELECT e.part, k.key FROM ({each}) AS e CROSS JOIN LATERAL (VALUES (e.low), (e.high)) AS k (key) OFFSET 0"
        )
        found += f" AND {part % 'f'} = d.part"
    elif index["is_equality"]:
        asked = f"SELECT s.key, count(*) AS rows FROM ({source}) AS s GROUP BY s.key OFFSET 0"
        lost = "coalesce(sum(d.rows - n.rows), 0)::bigint"
    else:
        asked = source
        found += " AND f.place = d.place"
    query = (
        f"SELECT {lost} AS lost FROM ({asked}) AS d CROSS JOIN LATERAL (SELECT count(*) AS rows {found}) AS n "
        f"WHERE d.key {index['operator']} d.key"
    )
    # As patterns: one line of evidence for all indexes.
    if index["name"] not in _indexes_in(one(connection, Batch("EXPLAIN (FORMAT JSON) {1}", ((query,),)))["QUERY PLAN"]):
        raise NotMeasured("the planner takes another way to the rows")
    count = one(connection, Batch("{1}", ((query,),)))["lost"]
    if count < 0:
        raise NotMeasured("its equality is not that of its type")
    return Wrong(f"{count} rows of {index['schema']}.{index['relation']} are not found by it") if count else None


def _indexes_in(plan: Any) -> set[str]:
    """The names of the indexes that a plan uses.

    >>> sorted(_indexes_in([{"Plan": {"Plans": [{"Index Name": "i"}, {"Plans": [{"Index Name": "j"}]}]}}]))
    ['i', 'j']
    """
    if isinstance(plan, list):
        return set().union(*map(_indexes_in, plan))
    if isinstance(plan, dict):
        return {plan["Index Name"]} if "Index Name" in plan else _indexes_in(list(plan.values()))
    return set()
