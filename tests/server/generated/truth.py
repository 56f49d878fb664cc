"""A recovered database against the truth that was kept aside: all that differs, and whether the recovery named it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from generated.cluster import Played
from generated.said import Said
from generated.snapshots import Contents, Key, Snapshot

Values = dict[str, str | None]
#: Tables that triggers and rules write to, with the names of those.
BY_TRIGGER = {"public.audit": ("noting", "off", "noted"), "public.counter": ("counting",)}


#: What a recovery did to rows that the damage had not touched: no failure, said loudly, excuses that.
_HARM = ("changed by the recovery", "overwritten", "neither as it was")


@dataclass(frozen=True)
class Difference:
    """Something is not as the truth has it: rows of a table, or an object."""

    kind: str
    what: str
    detail: str
    is_named: bool

    @property
    def is_harm(self) -> bool:
        """The recovery has done it."""
        return any(word in self.kind for word in _HARM)

    def __str__(self) -> str:
        return f"{'named' if self.is_named else 'NAMED NOWHERE'}: {self.kind}: {self.what}: {self.detail}"


def differences(played: Played, now: Snapshot, said: Said) -> list[Difference]:
    """After a copy-back: what the damage took is back as it was at the point, and all else is as it was before the copy-back."""
    assert played.final is not None
    moments = [
        played.at_point,
        *(m for damage in played.damages for m in (damage.before, damage.after)),
        played.final,
        now,
    ]
    found: list[Difference] = []
    for title in sorted({title for moment in moments for title in moment.tables}):
        if any(moment.tables.get(title) and moment.tables[title].kind == "m" for moment in moments):
            found += _view(played, now, said, title)
        else:
            found += _rows(played, now, said, title)
    lost = {one.what for one in found if one.kind == "table missing"}
    found += _objects(played, now, said, lost)
    found += _sequences(played, now, said, lost)
    return found


def _same(one: Values | None, other: Values | None) -> bool:
    """Equal in the columns that both have; both gone."""
    if one is None or other is None:
        return one is other
    return all(one[name] == other[name] for name in one.keys() & other.keys())


# -- rows --------------------------------------------------------------------------------------------------


def _rows(played: Played, now: Snapshot, said: Said, title: str) -> Iterator[Difference]:
    then, final = played.at_point.tables.get(title), played.final.tables.get(title) if played.final else None
    here = now.tables.get(title)
    if then is None:
        is_part_again = ("relation", title) in now.objects and ("relation", title) in played.at_point.objects
        if final is not None and here is None and not is_part_again:
            yield Difference("table missing", title, "it was made after the point, and is gone now", False)
        return
    if here is None:
        by_damage = any(d.before.tables.get(title) and not d.after.tables.get(title) for d in played.damages)
        if final is None and not by_damage:
            return  # others dropped it
        named = said.names_missing(title) or said.names_object(_names(title)[0])
        yield Difference("table missing", title, f"{len(then.rows)} rows", named)
        return
    yield from (
        _keyed(played, here, said, title, then)
        if then.key and here.key == then.key
        else _keyless(played, here, said, title, then)
    )


def _of(moment: Snapshot | None, title: str, key: tuple[str, ...]) -> dict[Key, Values]:
    table = moment.tables.get(title) if moment else None
    if table is None or not set(key) <= set(table.columns):
        return {}
    return Contents(title, table.kind, table.persistence, table.columns, key, table.rows).by_key()


def _keyed(played: Played, here: Contents, said: Said, title: str, then: Contents) -> Iterator[Difference]:
    at_point, final, now = (_of(played.at_point, title, then.key), _of(played.final, title, then.key), here.by_key())
    steps = [(_of(d.before, title, then.key), _of(d.after, title, then.key)) for d in played.damages]
    kinds: dict[str, list[Key]] = {}
    #: Of these, rows that have no line of their own in the file of conflicts.
    unlisted: Counter[str] = Counter()

    def add(kind: str, key: Key) -> None:
        kinds.setdefault(kind, []).append(key)
        unlisted[kind] += not said.names_row(title, dict(zip(then.key, key, strict=True)))

    keys = set(at_point) | set(final) | set(now) | {k for before, after in steps for k in {*before, *after}}
    for key in keys:
        p, f, r = at_point.get(key), final.get(key), now.get(key)
        touching = [
            (before.get(key), after.get(key)) for before, after in steps if not _same(before.get(key), after.get(key))
        ]
        if not touching:
            if not _same(f, r):
                add("changed by the recovery", key)
            continue
        others_since, others_before = not _same(touching[-1][1], f), not _same(p, touching[0][0])
        if _same(r, p) and (p is None or r is not None):
            if others_since and not _same(f, p) and not (f is None and touching[-1][1] is not None and r is None):
                add("others' change overwritten", key)
        elif p is None and not others_before:
            add("inserted by the damage" if _same(r, f) else "changed by the recovery", key)
        elif r is not None and f is None and not others_since:
            add("back, but altered", key)
        else:
            add("not back" if _same(r, f) else "neither as it was nor as it is", key)
    for kind, some in sorted(kinds.items()):
        number = unlisted[kind]
        detail = f"{len(some)} rows, first {min(some)}" + (f", {number} without a line" if number else "")
        yield Difference(f"rows {kind}", title, detail, _is_named(said, kind, title, number))


def _is_named(said: Said, kind: str, title: str, number: int) -> bool:
    """So many rows of the table are named, beside those that have a line of their own."""
    names = BY_TRIGGER.get(title)
    if kind == "others' change overwritten":
        return False
    if kind == "not back":
        return number == 0 or said.names_missing(title, number) or said.names_altered(title, number)
    if kind == "inserted by the damage":
        return number == 0 or said.names_extra(title, number)
    return said.names_altered(title, number) or (names is not None and said.names_trigger(*names))


def _keyless(played: Played, here: Contents, said: Said, title: str, then: Contents) -> Iterator[Difference]:
    columns = tuple(name for name in then.columns if name in here.columns)

    def counted(moment: Snapshot | None) -> Counter[tuple[str | None, ...]]:
        table = moment.tables.get(title) if moment else None
        return table.counted(columns) if table is not None else Counter()

    at_point, final, now = counted(played.at_point), counted(played.final), here.counted(columns)
    lost: Counter[tuple[str | None, ...]] = Counter()
    made: Counter[tuple[str | None, ...]] = Counter()
    for damage in played.damages:
        lost += counted(damage.before) - counted(damage.after)
        made += counted(damage.after) - counted(damage.before)
    missing = many = other = 0
    for row in {*at_point, *final, *now, *lost}:
        wanted = min(final[row] + lost[row], max(at_point[row], final[row]))
        if row in lost or row in made:
            missing += max(0, min(wanted, at_point[row]) - now[row]) if row not in made else 0
            many += max(0, now[row] - final[row] - lost[row])
        elif now[row] != final[row]:
            other += 1
    if missing:
        yield Difference(
            "rows not back",
            title,
            f"{missing} rows without a key",
            missing <= said.counted(title) or said.names_missing(title, missing - said.counted(title)),
        )
    if many or other:
        names = BY_TRIGGER.get(title)
        named = said.names_trigger(*names) if names else said.names_altered(title)
        yield Difference(
            "rows changed by the recovery", title, f"{many} rows too many, {other} contents that nobody touched", named
        )


def _view(played: Played, now: Snapshot, said: Said, title: str) -> Iterator[Difference]:
    moments = [
        played.at_point.tables.get(title),
        played.final.tables.get(title) if played.final else None,
        now.tables.get(title),
    ]
    then, final, here = (Counter(one.rows) if one is not None else None for one in moments)
    if then is not None and here is not None and here not in (then, final) and final is not None:
        yield Difference(
            "materialized view changed", title, "other rows than before", said.names_object(_names(title)[0])
        )
    touched = any(
        (d.before.tables.get(title) and d.before.tables[title].rows)
        != (d.after.tables.get(title) and d.after.tables[title].rows)
        for d in played.damages
    )
    if touched and here is not None and final is not None and here == final and here != then:
        yield Difference(
            "materialized view not back", title, "its rows are the damage's", said.names_object(_names(title)[0])
        )


# -- objects -----------------------------------------------------------------------------------------------


def _objects(played: Played, now: Snapshot, said: Said, lost: set[str]) -> Iterator[Difference]:
    assert played.final is not None
    then, final, here = played.at_point.objects, played.final.objects, now.objects
    for one in sorted({*then, *final, *here}):
        kind, name = one
        if any(name == title or name.startswith(f"{title}.") or f" ON {title} " in then.get(one, "") for title in lost):
            continue
        touching = [(d.before.objects.get(one), d.after.objects.get(one)) for d in played.damages]
        touching = [(before, after) for before, after in touching if before != after]
        wanted = then.get(one) if touching else final.get(one)
        if here.get(one) == wanted:
            continue
        if touching and (touching[-1][1] != final.get(one) or (one not in then and here.get(one) == final.get(one))):
            continue  # others have changed it since, or the damage made it
        last, above = _names(name)
        what = "missing" if one not in here else "new" if wanted is None else "altered"
        named = said.names_object(last, of=above)
        yield Difference(f"{kind} {what}", name, f"was {wanted!r}, is {here.get(one)!r}", named)


def _parts(name: str) -> list[str]:
    """A dotted SQL name's parts, without quotes."""
    found, current, quoted = [], "", False
    for char in name:
        if char == '"':
            quoted = not quoted
        elif char == "." and not quoted:
            found.append(current)
            current = ""
        else:
            current += char
    return [*found, current]


def _names(name: str) -> tuple[str, str]:
    """The object's own name, and the name of what it belongs to, such as its table."""
    words = re.findall(r'(?:"[^"]*"|[^\s".])(?:"[^"]*"|[^\s"])*', name)
    parts = _parts(
        words[-1] if name.count(" ") == 1 and words[0].isidentifier() else words[0]
    )  # "publication table", "partition < table"
    return parts[-1].split("(")[0], parts[-2] if len(parts) > 1 else ""


def _sequences(played: Played, now: Snapshot, said: Said, lost: set[str]) -> Iterator[Difference]:
    assert played.final is not None
    for name, last in sorted(played.at_point.sequences.items()):
        here = now.sequences.get(name)
        if here is None:
            continue  # told by its object
        least = max(last, played.final.sequences.get(name, last))
        if here < last or here < least:
            yield Difference(
                "sequence behind", name, f"at {here}, has given {least} before", said.names_object(_names(name)[0])
            )


# -- promote -----------------------------------------------------------------------------------------------


def differences_promoted(played: Played, now: Snapshot, said: Said) -> list[Difference]:
    """After a promotion: all is as it was at the point, but for unlogged relations, which are named."""
    found = []
    then = played.at_point
    for title in sorted({*then.tables, *now.tables}):
        one, other = then.tables.get(title), now.tables.get(title)
        if one is None or other is None:
            found.append(Difference("table missing", title, "not in both", False))
        elif Counter(one.rows) != Counter(other.rows):
            named = one.persistence == "u" and not other.rows and said.names_missing(title)
            found.append(
                Difference("rows differ", title, f"{len(one.rows)} rows at the point, {len(other.rows)} now", named)
            )
    for key in sorted({*then.objects, *now.objects}):
        if then.objects.get(key) != now.objects.get(key):
            found.append(
                Difference(
                    f"{key[0]} differs", key[1], f"was {then.objects.get(key)!r}, is {now.objects.get(key)!r}", False
                )
            )
    for name, last in then.sequences.items():
        here = now.sequences.get(name, 0)
        most = max(last, played.final.sequences.get(name, last) if played.final else last)
        if not last <= here <= most + 33:  # as it was, or set forward to what was given out since
            found.append(
                Difference("sequence differs", name, f"at {last} then, {here} now", said.names_object(_names(name)[0]))
            )
    return found
