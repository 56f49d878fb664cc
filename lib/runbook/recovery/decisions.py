"""What the operator decides besides the way: which triggers fire while rows are copied back, and what becomes of sequences.

Each is a question whose answer is journaled, and is part of the plan that a second person signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from runbook.errors import PlatformError
from runbook.model import Check, Severity, Status
from runbook.postgres.tools import read_control
from runbook.recovery.backing import CopyingBack
from runbook.recovery.copystints import trigger_key
from runbook.recovery.course import Seen
from runbook.recovery.execution import Execution
from runbook.recovery.sequencefiles import read_from_files
from runbook.recovery.sequences import (
    SequenceGap,
    Sequences,
    SetForward,
    compare_sequences,
    lines,
    read_all_sequences,
    set_forward,
)
from runbook.texts import many

_LEFT_OUT = "triggers left out"
_NUMBERS = "sequences decided"
_LEFT = "sequences left behind"
#: What an answer says that was given because there was nothing to decide.
_NO_TRIGGER = "no trigger can be left out"
_NO_SEQUENCE = "no sequence is rewound that can be set forward"


class Said(Protocol):
    """An operator's answer."""

    @property
    def option(self) -> str: ...

    @property
    def value(self) -> str: ...


class TriggerDecision:
    """Which triggers fire while the rows of one recovery are copied back.

    Args:
        copying: whose plan names them.
    """

    def __init__(self, copying: CopyingBack) -> None:
        self.copying, self.course = copying, copying.course
        self._offered: list[str] = []
        self.question = "No rows are copied back, so no trigger fires."

    def offer(self, way: str) -> Seen:
        """The triggers of the tables that get rows, and what of them can be left out."""
        seen = self.course.keep("triggers", self._look) if way == "copy-back" else Seen(facts={"offered": []})
        self._offered = list(seen.facts["offered"])
        if self._offered:
            self.question = (
                "Triggers fire while rows are copied back, as for the application. Which are left out? "
                f"Offered: {'; '.join(lines(self._offered, 'more'))}."
            )
        elif way == "copy-back":
            self.question = "No trigger that fires while rows are copied back can be left out."
        return seen

    def _look(self) -> Seen:
        found, offered = [], []
        for table in self.copying.plan().tables:
            if table.problem:
                continue
            found += [{"table": table.key, "trigger": line} for line in table.trigger_lines()]
            firing = sorted({one.name for one in table.triggers if one.fires})
            if firing and table.must_fire is None:
                offered += [table.key, *(trigger_key(table.key, name) for name in firing)]
        return Seen(rows=found, facts={"offered": offered})

    @property
    def given(self) -> str:
        """The answer where there is nothing to decide."""
        return "" if self._offered else f"fire: {_NO_TRIGGER}"

    def used_up(self, answers: Sequence[Said]) -> int:
        """How many answers do not count: the last one names what is not offered, or was given when there was nothing to decide."""
        if not answers or self.course.way is not None or not self._offered:
            return 0
        last = answers[-1]
        is_wrong = last.value == _NO_TRIGGER if last.option == "fire" else self._is_wrong(last.value)
        return len(answers) if is_wrong else 0

    def _is_wrong(self, value: str) -> bool:
        chosen, unknown = split_entries(value, self._offered)
        if unknown:
            self.question += f" The answer before named '{unknown}', which is none of these."
        return not chosen or bool(unknown)

    def take(self, answer: Said | None) -> None:
        """The answer is noted for plan and copy-back."""
        if answer is None or self.course.way is not None:
            return
        chosen = split_entries(answer.value, self._offered)[0] if answer.option == "leave-out" else []
        if chosen != self.course.noted(_LEFT_OUT, []):
            self.course.note(_LEFT_OUT, chosen)
            self.copying.forget_plan()


def split_entries(value: str, offered: Sequence[str]) -> tuple[list[str], str]:
    """Return the offered tables and triggers that a value names, and the first part of it that is none. A name may hold the separator.

    >>> split_entries("shop: public.a; shop: public.b trigger t", ["shop: public.a", "shop: public.b", "shop: public.b trigger t"])
    (['shop: public.a', 'shop: public.b trigger t'], '')
    >>> split_entries("all", ["shop: public.a", "shop: public.a trigger t"]), split_entries("public.a", ["shop: public.a"])
    ((['shop: public.a', 'shop: public.a trigger t'], ''), ([], 'public.a'))
    """
    rest = value.strip()
    if rest == "all":
        return list(offered), ""
    found: list[str] = []
    while rest:
        fits = [one for one in offered if rest.startswith(one) and rest[len(one) :].lstrip()[:1] in ("", ";")]
        if not fits:
            return found, rest.split(";")[0].strip()
        longest = max(fits, key=len)
        found += [longest] if longest not in found else []
        rest = rest[len(longest) :].lstrip().removeprefix(";").lstrip()
    return found, ""


class SequenceDecision:
    """What becomes of the sequences of one recovery.

    Args:
        execution: whose copy is compared with the damaged cluster.
    """

    def __init__(self, execution: Execution, copying: CopyingBack) -> None:
        self.execution, self.copying, self.course = execution, copying, execution.course

    def compare(self) -> Seen:
        """The damaged cluster's last values beside the copy's."""
        if self.execution.recovery.dry_run:
            return Seen(rows=[{"sequence": "a dry run: there is no copy to compare with"}], not_applicable="a dry run")
        return self.course.keep("sequences", self._look)

    def _look(self) -> Seen:
        restored, missed = read_all_sequences(self.execution.beside.connect)
        if self.execution.live.is_up():
            damaged, also = read_all_sequences(self.execution.live.connect)
        else:
            damaged, also = self._read_files(restored)
        gaps = compare_sequences(damaged, restored)
        unread = sorted({*missed, *also})
        unknown = [f"Numbers that were given out after the point may be given out again: {said}" for said in unread]
        return Seen(
            rows=[gap.row() for gap in gaps],
            facts={"gaps": [gap.facts() for gap in gaps], "missed": unread, "unknown": unknown},
        )

    def _read_files(self, restored: Sequences) -> tuple[Sequences, list[str]]:
        """The sequences of a damaged server that does not answer."""
        data = self.execution.live.need_data()
        try:
            control = read_control(self.execution.beside.tools, data)
        except PlatformError as cause:
            return {}, [f"Sequences of the damaged cluster: its server does not answer, and {cause.message}"]
        return read_from_files(data, control, restored)

    @property
    def _facts(self) -> dict[str, Any]:
        kept = self.course.noted("seen/sequences")
        return dict(Seen.load(kept).facts) if kept is not None else {}

    @property
    def gaps(self) -> list[SequenceGap]:
        """Sequences that stand elsewhere in the damaged cluster, as they were compared."""
        return [SequenceGap(**gap) for gap in self._facts.get("gaps", [])]

    @property
    def rewound(self) -> list[SequenceGap]:
        """Those that a promotion rewinds."""
        return [gap for gap in self.gaps if gap.is_rewound]

    # -- the question

    def question(self, way: str) -> str:
        """What is asked; or why nothing is."""
        if way != "promote":
            return "Production keeps its own sequences."
        number = len(self.rewound)
        if not number:
            unknown = self._facts.get("unknown", [])
            return unknown[0] if unknown else "No sequence of the damaged cluster is further than the copy's."
        first = self.rewound[0]
        return f"A promotion rewinds {many(number, 'sequence')}, first {first.words()}. Are they set forward?"

    def given(self, parameter: str, way: str) -> str:
        """The notebook's parameter as the answer; where nothing is rewound, that."""
        if not self._is_asked(way):
            return f"keep: {_NO_SEQUENCE}"
        is_production = self.execution.recovery.params.environment == "production"
        return parameter or ("" if is_production else "forward")

    def _is_asked(self, way: str) -> bool:
        return way == "promote" and any(gap.refused is None for gap in self.rewound)

    def used_up(self, answers: Sequence[Said], way: str) -> int:
        """How many answers do not count: the last one was given when there was nothing to decide."""
        is_open = self.course.way is None and self._is_asked(way)
        return len(answers) if answers and is_open and answers[-1].value == _NO_SEQUENCE else 0

    def take(self, answer: Said | None) -> None:
        """The answer is noted for plan and promotion."""
        if answer is not None and self.course.way is None:
            self.course.note(_NUMBERS, answer.option)

    # -- the plan

    @property
    def forward(self) -> list[SequenceGap]:
        """Those that are set forward."""
        is_chosen = self.course.noted(_NUMBERS) == "forward"
        return [gap for gap in self.rewound if gap.refused is None] if is_chosen else []

    def plan_facts(self, way: str) -> dict[str, str]:
        """For a gate's plan: every sequence that stands elsewhere, with both values and what becomes of it."""
        return {gap.title: f"{gap.words().removeprefix(gap.title + ': ')}: {self._fate(gap, way)}" for gap in self.gaps}

    def _fate(self, gap: SequenceGap, way: str) -> str:
        if way == "promote":
            is_set = gap in self.forward
            return (
                "set forward" if is_set else "numbers are given out again" if gap.is_rewound else "stays as in the copy"
            )
        if way == "copy-back" and gap.is_set_back:
            return "set forward with the table's rows" if self._is_raised(gap) else "stays behind"
        return "stays as in the damaged cluster"

    def _is_raised(self, gap: SequenceGap) -> bool:
        tables = [table for table in self.copying.plan().tables if table.database == gap.database and not table.problem]
        return any((gap.schema, gap.name) in table.sequences for table in tables)

    def left_by_promotion(self) -> list[str]:
        """Numbers that are given out again, in sentences without a full stop."""
        unknown = list(self._facts.get("unknown", []))
        again = [gap for gap in self.rewound if gap not in self.forward]
        said = (
            f"Numbers that were given out after the point are given out again: {gap.words()}"
            + (f" (not set forward: {gap.refused})" if gap.refused else "")
            for gap in again
        )
        return [*unknown, *lines(said, "more sequences give out numbers again")]

    def note_left(self) -> list[str]:
        """Production's sequences that a copy-back leaves behind, each with the statement that repairs it; noted for `noted_left`."""
        behind = [gap for gap in self.gaps if gap.is_set_back and not self._is_raised(gap)]
        said = lines((f"Sequence {gap.words()}: {gap.by_hand}" for gap in behind), "more sequences are behind")
        self.course.note(_LEFT, said)
        return said

    @property
    def noted_left(self) -> list[str]:
        """As it was noted when the plan was made."""
        return list(self.course.noted(_LEFT, []))

    # -- the act

    def carry_out(self) -> tuple[list[Check], list[dict[str, str]]]:
        """The promoted copy's sequences are set forward as it was decided; read back. Safe again."""
        wanted = self.forward
        if not wanted:
            return [], []
        beside = self.execution.beside
        beside.start_promoted()
        done = set_forward(lambda database: beside.connect(database, read_only=False), wanted)
        return [judge_forward(done)], [one.row() for one in done]


def judge_forward(done: Sequence[SetForward]) -> Check:
    """Return whether each sequence goes on after the damaged cluster's last value. Pure."""
    failed = [one for one in done if one.problem]
    return Check(
        id="recovery-sequences",
        title="Sequences go on after the damaged cluster's last values",
        status=Status.UNKNOWN if failed else Status.PASS,
        expected=f"{many(len(done), 'sequence')} set forward",
        observed=f"{len(done) - len(failed):,} set forward, {len(failed):,} not",
        severity=Severity.ERROR,
        reason=f"{failed[0].title}: {failed[0].problem}" if failed else None,
        next="Set it forward by hand once production is open: pg_catalog.setval with the value in the plan."
        if failed
        else None,
        source="pg_sequence_last_value()",
    )
