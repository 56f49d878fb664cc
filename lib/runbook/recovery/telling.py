"""The operator's hooks around a recovered production: smoke tests while it is read-only, then the log, then the status page. Each once."""

from __future__ import annotations

from runbook.clock import human_seconds
from runbook.model import Check, Severity, Status
from runbook.outside.hooks import call_hook, describe_hook
from runbook.params.schema import Hook
from runbook.recovery.course import Seen
from runbook.recovery.done import Done
from runbook.recovery.pitr import PointInTimeRecovery


class Telling:
    """Hooks of one recovery. One that failed is called again by the next attempt, one that succeeded is not."""

    def __init__(self, recovery: PointInTimeRecovery) -> None:
        self.recovery, self.course = recovery, recovery.course

    def smoke_test(self) -> Seen:
        """The smoke tests against the read-only production."""
        hooks = self.recovery.params.hooks.smoke_tests
        named = [(f"smoke test {number}", hook) for number, hook in enumerate(hooks, 1)]
        found = self._call_all(named, Severity.CRITICAL)
        if not hooks:
            found.rows.append(_by_hand("smoke tests", "start the application read-only, and look"))
        return found

    def tell(self, done: Done) -> Seen:
        """The application's log is watched, and the status page is told; after what was done to open production."""
        hooks = {name: getattr(self.recovery.params.hooks, name) for name in ("log_watch", "status_page")}
        found = self._call_all([(name, hook) for name, hook in hooks.items() if hook is not None], Severity.WARNING)
        found.rows.extend(_by_hand(name, "as your house does it") for name, hook in hooks.items() if hook is None)
        return Seen([*done.checks, *found.checks], [*done.rows, *found.rows])

    def _call_all(self, hooks: list[tuple[str, Hook]], severity: Severity) -> Seen:
        seen = Seen()
        for name, hook in hooks:
            kept = self.course.noted(f"hook/{name}")
            if kept is None:
                kept = self._call(name, hook, severity).model_dump(mode="json")
                if kept["status"] == Status.PASS:
                    self.course.note(f"hook/{name}", kept)
            check = Check.model_validate(kept)
            seen.checks.append(check)
            state = "done" if check.status is Status.PASS else "FAILED"
            took = human_seconds(check.seconds or 0)
            seen.rows.append({"what": name, "state": state, "detail": f"{check.observed} ({took})"})
        return seen

    def _call(self, name: str, hook: Hook, severity: Severity) -> Check:
        facts = {"target": self.recovery.params.target, "incident run": self.recovery.run.id, "hook": name}
        called = call_hook(name, hook, facts)
        return Check(
            id="recovery-" + name.replace(" ", "-").replace("_", "-"),
            title=f"Hook {name}",
            status=Status.PASS if called.ok else Status.UNKNOWN,
            expected="the hook succeeds",
            observed=called.said or "done",
            severity=severity,
            reason=None if called.ok else f"{called.what}: {called.said}",
            next=None if called.ok else "Mend it, then resume: it is called again; or go back.",
            source=describe_hook(hook),
            seconds=round(called.seconds, 2),
        )


def _by_hand(name: str, what: str) -> dict[str, str]:
    return {"what": name, "state": "not in params", "detail": f"by hand: {what}"}
