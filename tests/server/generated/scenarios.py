"""A scenario: a schema, good transactions before, between and after, and the damage; all of it from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from generated.columns import TYPES
from generated.furniture import FUNCTIONS, furnish
from generated.tables import Table, make_tables
from generated.transactions import Work, damaging_work, good_work


@dataclass
class Scenario:
    """What happens to one database. The base backup is taken after `early`: some tables may be newer than it."""

    made: list[str]
    early: list[Work]
    late: list[str]
    #: After the backup, in this order; damages are marked.
    course: list[Work]
    tables: list[Table]

    def text(self) -> str:
        """As SQL, to be reduced by hand."""
        parts = ["-- made", *(f"{one};" for one in self.made), "-- early", *(one.text() for one in self.early)]
        parts += [
            "-- base backup",
            *(f"{one};" for one in self.late),
            *(one.text() for one in self.course if one.statements),
        ]
        return "\n".join(parts)


def make_scenario(draw: Random) -> Scenario:
    """A scenario from these choices: the same choices, the same scenario."""
    schemas = ["public", *draw.choice(([], ["side"], ["side", "Odd Schema"]))]
    made = [*TYPES, *FUNCTIONS, *(f'CREATE SCHEMA "{name}"' for name in schemas[1:])]
    taken: set[str] = {"audit", "counter"}
    tables, statements = make_tables(draw, draw.randint(2, 7), taken, schemas)
    made += statements
    made += furnish(draw, tables)
    late: list[str] = []
    if draw.random() < 0.3:  # tables that are newer than the backup
        newer, statements = make_tables(draw, draw.randint(1, 2), taken, schemas)
        late = [*statements, *furnish_newer(draw, newer)]
        tables = [*tables, *newer]
    number = iter(range(1000, 100000, 100))

    def others(most: int) -> list[Work]:
        return [good_work(draw, tables, next(number)) for _ in range(draw.randint(0, most))]

    course = others(4)
    for _ in range(draw.choice((1, 1, 1, 1, 2, 3))):
        damage = damaging_work(draw, tables)
        damage.instead = [damaging_work(draw, tables) for _ in range(8)]
        if damage.prepared:
            damage.meanwhile = others(2)
        course += [damage, *others(3)]
    return Scenario(made, others(2), late, [*course, *others(3)], tables)


def furnish_newer(draw: Random, tables: list[Table]) -> list[str]:
    """As `furnish`, without what has a number in its name: those are taken."""
    return [
        one
        for one in furnish(draw, tables)
        if not any(word in one for word in ("view_", "mat_", "stat_", "free_", "pub "))
    ]
