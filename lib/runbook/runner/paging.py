"""`page_role`: somebody is called about a run, and the run's journal and record say so. No lock is waited for: an incident holds it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from runbook import clock
from runbook.errors import OperatorError, RunbookError, TargetLocked
from runbook.escalation.calling import Delivery, Went, call_people, verdict_of
from runbook.escalation.oncall import on_duty
from runbook.escalation.wording import Incident, page_body, page_title
from runbook.model import Status, StepState
from runbook.params import load_params
from runbook.params.contacts import Person, Role, Roster, load_contacts
from runbook.redact import looks_like_secret, scrubber
from runbook.runner.anew import archive_anew
from runbook.runner.closing import read_state
from runbook.runner.dead import is_alive
from runbook.session import identity
from runbook.session.credentials import register_all_secrets, register_secrets
from runbook.session.journal import Journal
from runbook.session.lock import lock_of
from runbook.session.pagebook import is_broken_off, page_said
from runbook.session.request import JOURNAL, only_reads
from runbook.session.state import RunState


@dataclass(frozen=True)
class Paged:
    """How a page ended. `people`: who was to be called, in order; `by_hand`: what is left for a person to do; `record`: the newest one
    of the run; `archived`: whether the page stands in it; `before`: an earlier page to the role that broke off, in a sentence."""

    status: Status
    title: str
    body: str
    people: list[Person]
    deliveries: list[Delivery]
    by_hand: list[str]
    record: str | None
    archived: bool
    before: str | None = None


def incident_of(state: RunState) -> Incident:
    """A run's state for somebody who knows nothing of it."""
    gates = [f"gate '{gate['title']}'" for gate in state.gates if gate.get("state") == "waiting"]
    asked = [
        f"question '{one['title']}': {one['text']}" for one in state.questions.values() if one["state"] == "waiting"
    ]
    standing, reason = str(state.verdict), state.reason
    step = state.current_step
    if not (state.closed or state.ended or state.concluded) and is_alive(state) and not gates and not asked:
        where = f"{'at' if step.state is StepState.RUNNING else 'after'} step '{step.name}'" if step else "at its start"
        standing, reason = "RUNNING", f"It is at work, {where}."
    return Incident(
        run=state.run,
        runbook=str(state.request["runbook"]),
        title=str(state.request["title"]),
        target=state.target,
        environment=str(state.request["environment"]),
        standing=standing,
        reason=reason,
        waits="; ".join([*gates, *asked]),
        next=state.next_command if standing != "RUNNING" else f"runbook status {state.run}",
        record=state.records[-1] if state.records else None,
    )


def page_role(folder: Path, role_name: str, *, message: str = "", anyone: bool = False, dry_run: bool = False) -> Paged:
    """The people of the role who are on duty were called in their order until a channel accepted the message.

    The page is journaled before and after, and so is each delivery: a page that breaks off says of which it is not known whether it
    went out. A run whose attempt is archived has another record with it, unless somebody works on the
    run, whose next record has it then.

    Args:
        folder: the run's.
        anyone: those who are off duty are called too, after the others.
        dry_run: nothing is sent, nothing is journaled.

    Raises:
        ParamsError: no such role, or the contacts are wrong. OperatorError: the message holds a secret.
    """
    state = read_state(folder)
    roster = load_contacts().roster_of(str(state.request["environment"]))
    role = roster.role(role_name)
    register_all_secrets()
    register_secrets(load_params(state.target))
    if looks_like_secret(message) or scrubber.holds(message):
        raise OperatorError("The message holds what looks like a secret.", next="Page without it.")
    now = clock.now()
    duty = on_duty(roster, role, now)
    people = [*duty, *(one for one in roster.people_of(role) if one not in duty)] if anyone else duty
    incident = incident_of(state)
    title = scrubber.text(page_title(role.id, incident))
    operator, host = identity.operator(), identity.host()
    page, before = secrets.token_hex(4), _broken_off_before(state, role.id)
    body = scrubber.text(page_body(role.title, incident, message, operator, host, clock.stamp(now), page, before))
    if dry_run:
        return Paged(Status.PASS, title, body, people, [], hands(roster, role, duty), incident.record, False, before)
    journal = Journal(folder / JOURNAL)
    names = [one.id for one in people]
    journal.append(
        "page-begun", page=page, role=role.id, operator=operator, message=message, people=names,
        process=identity.this_process(),
    )  # fmt: skip
    done = call_people(
        people,
        title,
        body,
        begin=lambda one: journal.append("page-sending", page=page, delivery=one.facts()),
        tell=lambda one: journal.append("page-sent", page=page, delivery=one.facts()),
    )
    status = verdict_of(done)
    outcome = _outcome(status, names, done)
    journal.append("page-ended", page=page, outcome=outcome, deliveries=[one.facts() for one in done])
    archived = _archive(folder, state)
    record = read_state(folder).records
    by_hand = hands(roster, role, duty) if status is not Status.PASS else []
    return Paged(status, title, body, people, done, by_hand, record[-1] if record else None, archived, before)


def _broken_off_before(state: RunState, role: str) -> str | None:
    """The newest page to the role, when nobody lives who could say how it ended."""
    mine = [page for page in state.pages if page["role"] == role]
    if mine and is_broken_off(mine[-1]) and not identity.is_alive(mine[-1]["process"]):
        return page_said(mine[-1])
    return None


def _outcome(status: Status, names: list[str], done: list[Delivery]) -> str:
    if status is Status.PASS:
        return "accepted"
    if not names:
        return "nobody is on duty"
    if any(one.went is Went.NOT_KNOWN for one in done):
        return "no channel accepted it, and of one at least it is not known whether it went out"
    return "no channel accepted it" if done else "nobody on duty has a channel"


def hands(roster: Roster, role: Role, duty: list[Person]) -> list[str]:
    """Whom to reach by hand, in order, and how: those on duty first."""
    others = [one for one in roster.people_of(role) if one not in duty]
    return [
        *(f"{one.name}, on duty: {one.by_hand}" for one in duty),
        *(f"{one.name}, off duty now: {one.by_hand}" for one in others),
    ]


def _archive(folder: Path, before: RunState) -> bool:
    """An attempt that was closed when the page began has another record, unless somebody works on the run. Whatever goes wrong here
    must not hide whether somebody was reached: the journal holds the page, and the next record will."""
    if not before.closed:
        return False
    lock = lock_of(before.target, before.run, only_reads=only_reads(folder))
    try:
        lock.acquire()
    except TargetLocked:
        return False
    try:
        state = read_state(folder)
        if not state.closed:
            return False
        archive_anew(folder, state)
        return True
    except RunbookError:
        return False
    finally:
        lock.release()
