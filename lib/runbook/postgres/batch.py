"""Many statements of one pattern, asked as one.

A statement for each of thousands of relations costs a round trip each, an entry each in pg_stat_statements, where it displaces one of the
application's, and a line each in a run's evidence. A batch is one statement, and evidence keeps its pattern once with what stood in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Statements that differ only in `parts`, joined by UNION ALL.

    Args:
        pattern: a SELECT whose first column is `{0} AS n`; `{1}` and so on stand for the parts.
        parts: one tuple for each statement.
    """

    pattern: str
    parts: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """The one statement that is sent.

        >>> Batch("SELECT {0} AS n FROM {1}", (("a",), ("b",))).text
        'SELECT 0 AS n FROM a UNION ALL SELECT 1 AS n FROM b'
        """
        return " UNION ALL ".join(self.pattern.format(number, *part) for number, part in enumerate(self.parts))

    def as_string(self, _: object = None) -> str:
        """Return the pattern: what evidence shows."""
        return self.pattern

    def answers(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """Return the rows in the order of the parts; None where not each of them has exactly one."""
        by_number = {row["n"]: row for row in found}
        if len(found) != len(self.parts) or by_number.keys() != set(range(len(self.parts))):
            return None
        return [by_number[number] for number in range(len(self.parts))]


def chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield the items in order, at most so many at once.

    >>> list(chunks([1, 2, 3], 2))
    [[1, 2], [3]]
    """
    for begin in range(0, len(items), most):
        yield items[begin : begin + most]
