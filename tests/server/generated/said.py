"""What a recovery says it did not give back: read from what its report shows, and from its files. The only module that knows their form.

A difference counts as named only where one of these texts is about it:

- limitations, and the reasons of checks that did not pass;
- the account of a copy-back, and its notes;
- the plan that was approved: what is listed as not repaired, and which triggers fire;
- a line of the file of conflicts, with the row's key or place.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from generated.notebook import Recited
from runbook.model import Status
from runbook.recovery.conflictfile import FILE

#: Words that say of a table's rows that they are not back.
_MISSING = re.compile(
    r"none of the rows|not made again|left alone|left as they are|not copied back|nothing of it|in conflict|not in the restored copy|"
    r"cannot be told|not brought back|not back|make the column|was not followed|dropped it since|unlogged|in no WAL|rewrites what is written|"
    r"REFRESH|no role may write|changed since by others|another one than|may not enter|has no INSERT|not known|not repaired",
    re.IGNORECASE,
)
_ALTERED = re.compile(r"not quite as before|altered|a trigger changed|left out|changed since|differs?", re.IGNORECASE)
_EXTRA = re.compile(r"that the damage inserted|inserted by the damage", re.IGNORECASE)
#: Steps whose tables and facts are about what came back.
_STEPS = ("copy the lost rows back", "account", "promote the restored copy", "come back from the past")


@dataclass
class Said:
    """The texts, and the conflicts by table: how many, and their keys."""

    texts: list[str]
    plan: list[str]
    conflicts: Counter[str] = field(default_factory=Counter)
    keys: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, recited: Recited) -> Said:
        """All that one execution of the notebook said."""
        run = recited.run
        texts = list(run.limits)
        for check in run.checks:
            if check.status is not Status.PASS:
                texts.append(" ".join(filter(None, (check.title, check.reason, check.observed, check.next))))
        if recited.error is not None:
            texts.append(f"{recited.step}: {recited.error}")
        for title, seen in run.seen.items():
            if any(word in title.lower() for word in _STEPS):
                texts += _flat(getattr(seen, "facts", {}))
                texts += [
                    f"{row.get('table', '')}: {row['notes']}" for row in getattr(seen, "rows", ()) if row.get("notes")
                ]
        texts += _account(run.facts.get("account", {}))
        plan = [text for one in run.plans.values() for text in one.blast_radius]
        plan += [text for one in run.plans.values() for text in _flat(one.facts)]
        found = cls(texts, plan)
        found._read_conflicts(recited)
        return found

    def _read_conflicts(self, recited: Recited) -> None:
        path = recited.run.dir / "loss" / FILE
        if not path.is_file():
            return
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                self.conflicts[line["table"]] += 1
                key = json.loads(line["key"]) if line["key"] else {}
                self.keys.setdefault(line["table"], set()).add(tuple(sorted((k, str(v)) for k, v in key.items())))

    # -- is it named? --------------------------------------------------------------------------------------

    def _about(self, title: str, words: re.Pattern[str], number: int) -> bool:
        """A text is about so many rows of that table, at least; one without any number is about all."""
        # Some texts quote every name.
        both = {title, ".".join(f'"{part}"' for part in title.replace('"', "").split("."))}
        for one, text in ((one, text) for text in [*self.texts, *self._not_repaired()] for one in both):
            _, found, rest = text.partition(one)
            if found and words.search(text) and not rest[:1].isalnum():
                numbers = [int(one.replace(",", "")) for one in re.findall(r"(?<![\w.])\d[\d,]*(?![\w/])", rest)]
                if not numbers or sum(numbers) >= number:
                    return True
        return False

    def _not_repaired(self) -> list[str]:
        return [text for text in self.plan if "Not repaired" in text or "after a recovery" in text]

    def names_row(self, title: str, key: dict[str, str]) -> bool:
        """A line of the file of conflicts has this key."""
        wanted = tuple(sorted(key.items()))
        return any(
            wanted in keys for table, keys in self.keys.items() if table == title or table.startswith(f"{title},")
        )

    def counted(self, title: str) -> int:
        """Rows of the table in conflict."""
        return sum(
            number for table, number in self.conflicts.items() if table == title or table.startswith(f"{title},")
        )

    def names_missing(self, title: str, number: int = 0) -> bool:
        return self._about(title, _MISSING, number)

    def names_altered(self, title: str, number: int = 0) -> bool:
        return self._about(title, _ALTERED, number)

    def names_extra(self, title: str, number: int = 0) -> bool:
        return self._about(title, _EXTRA, number)

    def names_object(self, name: str, *, of: str = "") -> bool:
        """Its name, as a word; a short one only beside the name of what it belongs to."""
        texts = [text.replace('""', '"') for text in [*self.texts, *self._not_repaired()]]
        if of and len(name) < 5:
            texts = [text for text in texts if _word(of).search(text)]
        return any(_word(name).search(text) for text in texts)

    def names_trigger(self, *names: str) -> bool:
        """One of these triggers or rules is said to fire."""
        fires = re.compile(r"fires|trigger|rule")
        return any(
            fires.search(text) and _word(name).search(text) for text in [*self.texts, *self.plan] for name in names
        )


#: Columns of the account that name rows which are not as they were.
_COUNTED = ("back but altered", "changed since by others", "in conflict", "not brought back")


def _account(facts: dict[str, Any]) -> list[str]:
    """The account's lines, and a text for each count that is not nothing."""
    lines = [
        f"{row['table']}: {row[name]} {name}" for row in facts.get("rows", ()) for name in _COUNTED if row.get(name)
    ]
    return [*_flat(facts), *lines]


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])")


def _flat(value: Any, path: str = "") -> list[str]:
    """Every text in it, with the names that lead to it."""
    if isinstance(value, dict):
        return [text for name, one in value.items() for text in _flat(one, f"{path}{name}: ")]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _flat(one, path)]
    return [f"{path}{value}"] if isinstance(value, str) and value else []
