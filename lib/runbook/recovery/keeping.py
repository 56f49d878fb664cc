"""What was seen of a restored copy is not looked at again by the next attempt: it counts as long as it is the same copy, where it stood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from runbook.model import Check
from runbook.platforms.cluster.beside import Beside
from runbook.recovery.course import Course, Seen
from runbook.recovery.puttingoff import made_up_for, put_off


class KeptForCopy:
    """What one recovery has kept of its copy.

    Args:
        reached: the position at which the copy stands, or will.
    """

    def __init__(self, course: Course, beside: Beside, reached: str) -> None:
        self._course, self._beside, self._reached = course, beside, reached

    def keep(
        self,
        name: str,
        look: Callable[[], Seen],
        *,
        at_the_point: bool = True,
        of: Any = None,
        is_whole: Callable[[Seen], bool] = lambda kept: True,
    ) -> Seen:
        """What an earlier attempt saw of this same copy, or what there is to see.

        Args:
            at_the_point: it counts as long as the copy stands where it stood then.
            of: what else it is about (JSON): of something else it is looked at anew.
            is_whole: whether what was seen still counts.
        """
        key = [self._beside.noted("backup"), self._beside.noted("copied at")]
        if at_the_point:
            key.append(self._reached)
        if of is not None:
            key.append(of)
        kept = self._course.noted(f"copy/{name}")
        if kept is not None:
            if kept["key"] == key and is_whole(seen := Seen.load(kept["seen"])):
                return seen
            self._course.note(f"copy/{name}", None)  # from here on it may be half undone
        seen = look()
        self._course.note(f"copy/{name}", {"key": key, "seen": seen.dump()})
        return seen

    def checks(
        self, name: str, look: Callable[[], list[Check]], *, at_the_point: bool, limits: Callable[[], list[str]] = list
    ) -> Seen:
        """Checks, kept likewise. What a transaction that was under way at the point holds cannot be read before promotion: checks of it
        are put off until then."""

        def seen() -> Seen:
            found = Seen(look())
            shown = put_off(found) if at_the_point else found
            return replace(shown, facts={**shown.facts, "left open": limits()})

        return self.keep(name, seen, at_the_point=at_the_point)

    def make_up_for(self, look: Callable[[list[Check]], list[Check]]) -> list[Check]:
        """The checks that were put off, made once.

        Args:
            look: makes these checks again, of the promoted copy.
        """
        kept = self._course.noted("put off")
        waiting = [Check.model_validate(one) for one in self._facts("put off")]
        if kept is None and waiting:
            kept = Seen(made_up_for(waiting, look(waiting))).dump()["checks"]
            self._course.note("put off", kept)
        return [Check.model_validate(check) for check in kept or []]

    @property
    def limits_until_promotion(self) -> list[str]:
        """What was said at the top of the report of the checks that were put off: no limitation once these are made."""
        return [str(one) for one in self._facts("limits")]

    def _facts(self, fact: str) -> list[Any]:
        """A fact of both steps that check the copy at its point."""
        kept = [self._course.noted(f"copy/{name}") for name in ("contents", "sql")]
        return [one for noted in kept if noted is not None for one in noted["seen"]["facts"].get(fact, [])]
