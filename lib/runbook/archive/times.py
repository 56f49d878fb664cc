"""Records whose time is wrong: a person's signed review accepts the record as it is, and so answers for its time.

A clock that ran ahead for one record would else spoil an archive for good: the next record is dated before it, and when its key is
replaced later, the time that the record claims lies after the end of that key.
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.keys import EVIDENCE
from runbook.archive.records import SIGNATURE
from runbook.archive.review import Review
from runbook.archive.signatures import Signers, judge
from runbook.archive.verified import Verified


def settle_times(found: Verified, reviews: Sequence[Review], signers: Signers) -> None:
    """Turn problems of time into notes where an accepted review answers for them.

    A record that is dated before the one ahead of it is settled by a review of either. A record whose key had ended by the time that it
    claims is settled by a review of it, if its signature verifies as of the record before it, and a signed record follows: whoever holds
    an ended key cannot add a record that way.
    """
    accepted = {review.record: review for review in reviews if review.accepted}
    for before, one, after in zip([None, *found.looked], found.looked, [*found.looked[1:], None], strict=False):
        named = (one.name, before.name) if before is not None else (one.name,)
        said = next((accepted[name] for name in named if name in accepted), None)
        backwards = _problem(found, "clock", one.name)
        if said is not None and backwards is not None:
            _note(found, backwards, said)
        if one.name in accepted and before is not None and after is not None:
            _settle_key(found, before, one, after, accepted[one.name], signers)


def _settle_key(found: Verified, before: Looked, one: Looked, after: Looked, review: Review, signers: Signers) -> None:
    ended = _problem(found, "key-ended", f"{one.name}/{SIGNATURE}")
    if ended is None or before.archived is None or one.archived is None or after not in found.signed:
        return
    judged = judge(one.sums, one.signature, EVIDENCE, before.archived.at, signers, one.archived.signer)
    if judged.problem is None:
        _note(found, ended, review)
        found.signed = [look for look in found.looked if look in found.signed or look is one]


def _problem(found: Verified, kind: str, where: str) -> Problem | None:
    return next((one for one in found.problems if (one.kind, one.where) == (kind, where)), None)


def _note(found: Verified, problem: Problem, review: Review) -> None:
    found.problems.remove(problem)
    found.notes.append(f"{problem} Accepted by {review.reviewer} in a signed review.")
