"""Sequences of the damaged cluster beside those of the restored copy, in every database, owned by a column or not.

A promotion rewinds sequences: numbers that were given out after the point are given out again, to other rows, while customers and other
systems hold them. So the operator decides whether the promoted copy goes on after the damaged cluster's last values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.tablelinks import is_behind
from runbook.texts import visible_line

Open = Callable[[str], Connection]
#: Of a long list, so many are shown one by one in a plan's sentences; all of them stand in its facts.
_SHOWN = 20
#: WAL holds a sequence's value so many steps ahead of what was given out (SEQ_LOG_VALS), so a restored one may stand that much further.
_RESERVE = 32


@dataclass(frozen=True)
class SequenceState:
    """A sequence as one server has it. `last_value` is None when it was never used; `feeds` is the column that owns it; `file` is its
    file below the data directory."""

    schema: str
    name: str
    owner: str
    feeds: str | None
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycles: bool
    last_value: int | None
    file: str = ""


@dataclass(frozen=True)
class SequenceGap:
    """A sequence that stands elsewhere in the damaged cluster than in the restored copy. JSON by `facts`.

    `refused` says why the copy's is not set to the damaged cluster's value; None: it can be. None as a value: never used.
    """

    database: str
    schema: str
    name: str
    owner: str
    feeds: str | None
    increment: int
    cache: int
    damaged: int | None
    restored: int | None
    refused: str | None = None

    @property
    def title(self) -> str:
        """The sequence with its database."""
        return visible_line(f"{self.database}: {quote(self.schema)}.{quote(self.name)}")

    @property
    def is_rewound(self) -> bool:
        """True when the copy would give out numbers that the damaged cluster has given out."""
        return is_behind(self.restored, self.damaged, self.increment)

    @property
    def is_set_back(self) -> bool:
        """True when the damaged cluster would give out numbers that were given out at the point already: it is further behind the copy
        than what WAL holds in reserve."""
        if not is_behind(self.damaged, self.restored, self.increment):
            return False
        assert self.restored is not None
        reserve = (_RESERVE + self.cache) * abs(self.increment)
        return self.damaged is None or abs(self.restored - self.damaged) > reserve

    @property
    def by_hand(self) -> str:
        """The statement that sets the damaged cluster's sequence to the copy's value."""
        name = f"{quote(self.schema)}.{quote(self.name)}".replace("'", "''")
        return f"SELECT pg_catalog.setval('{name}', {self.restored})"

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def row(self) -> dict[str, Any]:
        """For report.table."""
        if self.is_rewound:
            meaning = "numbers given out since the point are given out again after a promote"
        elif self.is_set_back:
            meaning = "the damaged cluster gives out numbers again that were given out before the point"
        else:
            meaning = (
                "the copy is further by what WAL holds in reserve, or the damaged cluster's was set back by as little"
            )
        return {
            "sequence": self.title,
            "feeds": self.feeds or "no column owns it",
            "last in the damaged cluster": _value(self.damaged),
            "last in the copy": _value(self.restored),
            "meaning": meaning + (f"; not set forward: {self.refused}" if self.refused else ""),
        }

    def words(self) -> str:
        """Both values in one line, for a plan.

        >>> SequenceGap("shop", "s", "q", "o", None, 1, 1, 1120, 1100).words()
        'shop: "s"."q": last value 1,120 in the damaged cluster, 1,100 in the copy'
        """
        return f"{self.title}: last value {_value(self.damaged)} in the damaged cluster, {_value(self.restored)} in the copy"


def _value(value: int | None) -> str:
    return "never used" if value is None else f"{value:,}"


Sequences = dict[tuple[str, str, str], SequenceState]


def read_all_sequences(open_: Open) -> tuple[Sequences, list[str]]:
    """Return the sequences of every database by database, schema and name; and what could not be read.

    Args:
        open_: a connection to a database of the server.
    """
    found: Sequences = {}
    missed: list[str] = []
    with open_("postgres") as connection:
        databases = rows(connection, load_sql("recovery/list_databases").text)
    for database in databases:
        if not database["is_open"]:
            if database["name"] != "template0":
                missed.append(f"sequences of {database['name']}: it accepts no connection")
            continue
        try:
            with open_(database["name"]) as connection:
                for row in rows(connection, load_sql("recovery/list_sequences").text):
                    row.pop("oid")
                    found[database["name"], row["schema"], row["name"]] = SequenceState(**row)
        except (PlatformError, SqlError) as problem:
            missed.append(f"sequences of {database['name']}: {str(problem).strip()}")
    return found, missed


def compare_sequences(
    damaged: Mapping[tuple[str, str, str], SequenceState], restored: Mapping[tuple[str, str, str], SequenceState]
) -> list[SequenceGap]:
    """Return the sequences that both sides have and that stand elsewhere, by database and name. Pure.

    >>> at = lambda value, **more: SequenceState(**{**dict(schema="s", name="q", owner="o", feeds=None, increment=1, minimum=1, maximum=9,
    ...     cache=1, cycles=False, last_value=value), **more})
    >>> key = ("shop", "s", "q")
    >>> [gap.is_rewound for gap in compare_sequences({key: at(7)}, {key: at(5)})], compare_sequences({key: at(7)}, {key: at(7)})
    ([True], [])
    >>> compare_sequences({key: at(12, maximum=20)}, {key: at(5)})[0].refused
    'the copy allows 1 to 9'
    """
    found = []
    for key, then in sorted(restored.items()):
        now = damaged.get(key)
        if now is None or now.last_value == then.last_value:
            continue
        refused = None
        if then.cycles or now.cycles:
            refused = "it cycles"
        elif (now.increment > 0) != (then.increment > 0):
            refused = "it counts the other way in the damaged cluster"
        elif now.last_value is not None and not then.minimum <= now.last_value <= then.maximum:
            refused = f"the copy allows {then.minimum:,} to {then.maximum:,}"
        found.append(
            SequenceGap(
                *key, then.owner, then.feeds, then.increment, then.cache, now.last_value, then.last_value, refused
            )
        )
    return found


def lines(said: Iterable[str], more: str) -> list[str]:
    """Return the first lines, and how many more there are.

    >>> lines(["a"], "more"), lines(map(str, range(22)), "more sequences")[-1]
    (['a'], '2 more sequences')
    """
    listed = list(said)
    left = len(listed) - _SHOWN
    return [*listed[:_SHOWN], *([f"{left:,} {more}"] if left > 0 else [])]


@dataclass(frozen=True)
class SetForward:
    """What became of one sequence: `value` is what it stands at, None where that is not known; `problem` why it was not set."""

    title: str
    wanted: int
    value: int | None
    problem: str | None

    def row(self) -> dict[str, str]:
        """For the table of the promotion."""
        if self.problem:
            return {"what": f"sequence {self.title}", "state": "NOT set forward", "detail": self.problem}
        return {
            "what": f"sequence {self.title}",
            "state": "set forward",
            "detail": f"goes on after {_value(self.value)}",
        }


def set_forward(open_: Open, gaps: Iterable[SequenceGap]) -> list[SetForward]:
    """Each sequence of the promoted copy goes on after the damaged cluster's last value; read back afterwards. Safe again.

    A sequence that is further already stays. It is set with the rights of its owner.

    Args:
        open_: a superuser's connection to a database of the copy that may write.
    """
    wanted: dict[str, list[SequenceGap]] = {}
    for gap in gaps:
        if gap.is_rewound and not gap.refused:
            wanted.setdefault(gap.database, []).append(gap)
    done = []
    for database, listed in wanted.items():
        problems: dict[str, str] = {}
        with open_(database) as connection:
            for gap in listed:
                problem = _set(connection, gap)
                if problem:
                    problems[gap.title] = problem
            now = {
                (row["schema"], row["name"]): row for row in rows(connection, load_sql("recovery/list_sequences").text)
            }
        for gap in listed:
            assert gap.damaged is not None
            row = now.get((gap.schema, gap.name))
            value = row["last_value"] if row is not None else None
            said = problems.get(gap.title)
            if said is None and is_behind(value, gap.damaged, gap.increment):
                said = f"it stands at {_value(value)} afterwards" if row is not None else "it is not in the copy"
            done.append(SetForward(gap.title, gap.damaged, value, said))
    return done


def _set(connection: Connection, gap: SequenceGap) -> str | None:
    """The sequence is set with its owner's rights; else why not."""
    file = load_sql("recovery/set_sequence_forward")
    values = file.values({"schema": gap.schema, "name": gap.name, "value": gap.damaged})
    try:
        with connection.transaction():
            connection.execute(connection.encoded(f"SET LOCAL ROLE {quote(gap.owner)}"))
            rows(connection, file.text, values)
    except SqlError as problem:
        if connection.closed:
            raise
        return (problem.diag.message_primary or str(problem)).strip()
    return None
