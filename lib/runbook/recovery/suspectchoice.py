"""Which suspects a recovery undoes: chosen by their transactions, out of those that the search has found and shown now."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from runbook import clock
from runbook.errors import OperatorError, RunbookError, TargetError
from runbook.params.loading import nearest
from runbook.params.schema import CENTURY, seconds_of
from runbook.platforms.cluster.window import parse_point
from runbook.postgres.wal import format_lsn
from runbook.recovery.course import Course, Seen
from runbook.recovery.suspects import Suspect

Found = TypeVar("Found")
#: The recovery point that the search finds.
FIND = "find"
#: The first suspect that is proposed, whatever it is: for practice on a sandbox alone.
FIRST = "first"
#: Answers to the question which suspects are undone.
SEVERAL, NONE = "several", "none"
#: Answers where the search has not found the damage: a point by hand, or a search from an earlier backup.
POINT, FURTHER = "point", "further"
#: Answers that say nothing without a value.
WITH_VALUE = (SEVERAL, POINT, FURTHER)
_NUMBER = re.compile(r"(?:xid\s*)?(\d+)")


def parse_choice(chosen: str) -> list[int]:
    """Return the transactions that a parameter or an answer names; none where it names none.

    >>> parse_choice("812"), parse_choice("xid 812, xid 830"), parse_choice(""), parse_choice("several: 812,830")
    ([812], [812, 830], [], [812, 830])

    Raises:
        OperatorError: it is no list of transactions.
    """
    words = [word.strip() for word in chosen.removeprefix(f"{SEVERAL}:").split(",") if word.strip()]
    matches = [_NUMBER.fullmatch(word) for word in words]
    if None in matches:
        raise OperatorError(
            f"'{chosen}' names no transactions.",
            next="Give the numbers of the suspects' transactions: -p suspects 812,830",
        )
    return list(dict.fromkeys(int(match[1]) for match in matches if match is not None))


def look_back_of(text: str) -> float:
    """Seconds from `24 h`.

    Raises:
        OperatorError: it is no duration, or longer than anything is kept.
    """
    try:
        seconds = float(str(seconds_of(text)))
    except ValueError as cause:
        raise OperatorError(f"look_back: {cause}.", next="-p look_back '24 h'") from None
    if seconds > CENTURY:
        raise OperatorError(f"look_back: {text} is longer than a hundred years.", next="-p look_back '24 h'")
    return seconds


def proposed(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Return the most suspicious one that is not marked and whose relations are all known by name; none where there is none."""
    return next(([one] for one in suspects if one.is_proposed), [])


def pick(suspects: Sequence[Suspect], chosen: str) -> list[Suspect]:
    """Return the suspects of these transactions; where none is named, the one that is proposed.

    Raises:
        OperatorError: one is not among those that the search has found now.
    """
    numbers = parse_choice(chosen)
    if not numbers:
        return proposed(suspects)
    found = []
    for number in numbers:
        one = next((one for one in suspects if number == one.number or number in one.xids), None)
        if one is None:
            raise _not_found(number, suspects)
        if one not in found:
            found.append(one)
    return found


def _not_found(number: int, suspects: Sequence[Suspect]) -> OperatorError:
    known = [str(one.number) for one in suspects]
    if 1 <= number <= len(suspects):
        return OperatorError(
            f"Suspects are chosen by their transactions, since their order may change; suspect {number} is transaction {known[number - 1]} now.",
            next=f"-p suspects {known[number - 1]}",
        )
    hint = nearest(str(number), known) if known else "the search has found none."
    return OperatorError(
        f"Transaction {number} is not among the suspects that the search has found; {hint}",
        next="Choose one of the table of suspects, or give a time or a position as recovery_point.",
    )


def given_answer(suspects: Sequence[Suspect], chosen: str) -> tuple[str, str]:
    """Return the answer that a parameter gives beforehand, and why it gives none: it counts only for suspects that the search has found
    now and that are as they should be.

    >>> given_answer([], "")
    ('', '')
    """
    if not chosen.strip():
        return "", ""
    try:
        found = proposed(suspects) if chosen.strip() == FIRST else pick(suspects, chosen)
    except OperatorError as cause:
        return "", cause.message
    if not found:
        return "", "No suspect is proposed: each is marked, or a name is not known."
    for one in found:
        if not one.is_proposed:
            return "", f"Transaction {one.number} is not taken unseen: {note_of(one)}."
    if len(found) == 1:
        return str(found[0].number), ""
    return f"{SEVERAL}: {','.join(str(one.number) for one in found)}", ""


def note_of(one: Suspect) -> str:
    """Return why a suspect is not proposed, and what would resolve it; empty where nothing speaks against it."""
    if one.unnamed:
        return (
            f"{one.unnamed[0]}: a plain base backup from before it, or the running server, may name it "
            "(pg_class.relfilenode); the restored copy is asked at the point"
        )
    return one.mark


def option_words(suspects: Sequence[Suspect]) -> dict[str, str]:
    """Return what may be answered: each suspect by its transaction."""
    options = {}
    for one in suspects:
        note = note_of(one)
        options[str(one.number)] = one.sentence + (f" [{note}]" if note else "")
    if len(suspects) > 1:
        options[SEVERAL] = "more than one: their transactions, separated by commas"
    options[POINT] = (
        "none of these: the recovery point by hand, an aware time (2025-09-07T14:30:00Z) or a position (0/3000060)"
    )
    options[FURTHER] = "none of these: search further back, from a backup that is older than this span (7 d)"
    return options


def suspect_rows(suspects: Sequence[Suspect]) -> list[dict[str, Any]]:
    """Return a row a suspect, the most suspicious first, for a table."""
    return [
        {
            "transaction": one.number,
            "what": one.sentence,
            "committed": clock.stamp(one.commit.at),
            "position": format_lsn(one.commit.lsn),
            "score": round(one.score, 1),
            "note": note_of(one),
        }
        for one in suspects
    ]


class SuspectChoice:
    """The choice of one recovery: asked for once the suspects were shown, and kept by their transactions.

    Args:
        course: remembers the answer over all attempts.
        given: the notebook's parameter.
    """

    def __init__(self, course: Course, given: str, *, dry_run: bool) -> None:
        self._course, self._given, self._dry_run = course, given, dry_run

    def facts(self, suspects: Sequence[Suspect], said: str = "") -> dict[str, Any]:
        """Return what the question is made of, for the journal.

        Args:
            said: what has to be said of the search.
        """
        given, refused = given_answer(suspects, self._given)
        return {"options": option_words(suspects), "given": given, "refused": refused, "said": said}

    def question(self, facts: Mapping[str, Any], asked: str) -> dict[str, Any]:
        """Return the question (text, options, given): a person answers it who has seen the suspects, or a parameter that names the
        transactions that the search has found now.

        Args:
            facts: as `facts` gave them. asked: the recovery point that was asked for.
        """
        if asked.strip() != FIND:
            text = "No suspect is asked for."
            return {"text": text, "options": {NONE: f"the point is {asked}"}, "given": NONE, "after": 0, "values": ()}
        refused = f" What was given is not taken: {facts['refused']}" if facts["refused"] else ""
        refused += f" {facts['said']}" if facts.get("said") else ""
        text = f"Which suspects does the recovery undo?{refused}"
        if set(facts["options"]) <= {POINT, FURTHER}:
            text = f"No transaction in the WAL that was searched looks like the damage. Where does the recovery go?{refused}"
        given = {"given": facts["given"], "after": self._used, "values": WITH_VALUE}
        return {"text": text, "options": facts["options"], **given}

    @property
    def _used(self) -> int:
        """Answers that asked for another search, or named nothing: the question was asked again after them."""
        return int(self._course.noted("suspects used", 0))

    @property
    def by_hand(self) -> str | None:
        """The recovery point that was given instead of a suspect; None: none was."""
        kept = self._course.noted("point by hand")
        return None if kept is None else str(kept)

    @property
    def look_back(self) -> float | None:
        """How far back a person wants the search to go, in seconds; None: nobody said."""
        kept = self._course.noted("look back")
        return None if kept is None else float(kept)

    def searched(self, search: Callable[[float | None], Found]) -> tuple[Found, str]:
        """Return what a search finds that goes back as far as a person has asked for last; or, where that cannot be searched (a gap in
        WAL, say), as far as before, and why: such an answer must not block the run.

        Args:
            search: from so many seconds back; None: as the parameter says.
        """
        wanted, before = self.look_back, self._course.noted("look back searched")
        try:
            found = search(wanted)
        except RunbookError as cause:
            if wanted is None or (wanted == before and not isinstance(cause, TargetError)):
                raise
            before = None if wanted == before else before  # what could be read then is gone since
            self._course.note("look back", before)
            return search(before), f"The search cannot go back so far: {cause.message} It goes back as before."
        self._course.note("look back searched", wanted)
        return found, ""

    @staticmethod
    def said(seen: Seen, said: str) -> Seen:
        """Return what a search has shown, with a sentence for the question that follows."""
        return replace(seen, facts={**seen.facts, "said": seen.facts.get("said") or said})

    def again(
        self, option: str, value: str, suspects: Sequence[Suspect], refuse: Callable[[str], object]
    ) -> str | None:
        """Return why the question is asked again after this answer; None: the answer stands.

        Args:
            refuse: raises a RunbookError when a point cannot be recovered to.
        """
        if self._course.way is not None or option == NONE or (option == POINT and value == self.by_hand):
            return None
        try:
            if option == POINT:
                parse_point(value)
                refuse(value)
                self._course.note("point by hand", value)
                return None
            if option == FURTHER:
                self._course.note("look back", look_back_of(value))
                said = f"The search now goes back {value}."
            else:
                pick(suspects, value if option == SEVERAL else option)
                return None
        except RunbookError as cause:
            said = cause.message
        self._course.note("suspects used", self._used + 1)
        return said

    def choose(self, option: str, value: str) -> None:
        """The suspects are undone that an answer to that question names.

        Raises:
            OperatorError: it names none.
        """
        if option in (NONE, POINT, FURTHER) or self._course.way is not None:
            return
        chosen = value if option == SEVERAL else option
        parse_choice(chosen)
        self._course.note("suspects", chosen)

    def chosen(self) -> str:
        """Return the transactions that were chosen; empty in a dry run, which goes on with what is proposed.

        Raises:
            OperatorError: nobody has chosen.
        """
        chosen = str(self._course.noted("suspects", ""))
        if chosen or self._dry_run:
            return chosen
        raise OperatorError("No suspect was chosen.", next="Answer the question of the run: runbook status")
