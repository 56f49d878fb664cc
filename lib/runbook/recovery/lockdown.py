"""Lock-down of a damaged production: nobody writes, what was written is safe, and each act can be taken back.

Every act looks at what is there and does what is still missing, so it may be called again after a crash at any moment. Before an
act its undo is written down. Hooks are the operator's: one that fails is UNKNOWN and stops nothing but the swap; only
WAL proves that something still writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.clock import human_seconds
from runbook.errors import OperatorError, PlatformError, RunbookError
from runbook.model import Check, Severity, Status
from runbook.outside.hooks import call_hook, describe_hook
from runbook.params.schema import Cluster, Hook, Params
from runbook.platforms.cluster import doors
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.quiet import prove_quiet
from runbook.platforms.cluster.tail import Tail, secure_tail
from runbook.postgres.wal import format_lsn
from runbook.recovery import vacuumstop
from runbook.recovery.closing import AUTOVACUUM, DOORS, Closing, Recall, begun, list_open
from runbook.recovery.done import Done, judge

MAINTENANCE = "maintenance mode is on"
HA = "the HA manager is paused"
EXPIRY = "backups and WAL are kept from expiring"
#: The order in which a lock-down is lifted: the reverse of its making.
LIFTED = (AUTOVACUUM, DOORS, EXPIRY, HA, MAINTENANCE)
#: Begins the undo of an act for which params name no undo hook.
BY_HAND = "by hand"
_UNDO_HOOKS = {MAINTENANCE: "maintenance_off", HA: "ha_resume", EXPIRY: "expiry_thaw"}
_TAIL = "lockdown tail"


class LockDown:
    """The acts of a lock-down for one run.

    Args:
        remember, recall: keep JSON values over all attempts of the run.
        undo_first: notes an act and how it is taken back, before it is done.
        undone: notes that an act was taken back or accepted.
        folder: where the tail of WAL is copied to when the archive does not take it; default: the run's own.

    Raises:
        OperatorError: the target is no cluster.
    """

    def __init__(
        self,
        params: Params,
        run_id: str,
        *,
        remember: Callable[[str, Any], object],
        recall: Recall,
        undo_first: Callable[[str, str], object],
        undone: Callable[[str], object],
        folder: Path | None = None,
    ) -> None:
        if params.cluster is None:
            raise OperatorError(f"The target {params.target} is no cluster.", next="Use the runbook of its platform.")
        self.params, self.run_id = params, run_id
        self.cluster: Cluster = params.cluster
        self.server = LiveServer(self.cluster, run_id)
        self._remember, self._recall, self._undo_first, self._undone = remember, recall, undo_first, undone
        self._closing = Closing(self.cluster, self.server, run_id, remember, recall, self._begin)
        self.folder = folder or layout.run(run_id) / "wal-tail"

    # -- what has been begun

    def is_begun(self, act: str) -> bool:
        """True from before an act was done until it was taken back."""
        return bool(self._recall(begun(act)))

    def _begin(self, act: str, undo: str) -> None:
        if self._recall(begun(act)) != "noted":
            # Known as begun before its undo is noted: whoever lifts after a crash in between takes it back, and the note too.
            self._remember(begun(act), "noting")
            self._undo_first(act, undo)
            self._remember(begun(act), "noted")

    def _end(self, act: str) -> None:
        self._undone(act)
        self._remember(begun(act), False)

    # -- hooks

    def maintenance(self) -> Done:
        """The application was told to stop: hook `maintenance_on`."""
        done = Done()
        self._call(done, "maintenance_on", MAINTENANCE, "the application is told to stop writing", Severity.WARNING)
        return done

    def freeze(self) -> Done:
        """Nothing fails over and nothing expires meanwhile: hooks `ha_pause` and `expiry_freeze`."""
        done = Done()
        self._call(done, "ha_pause", HA, "nobody starts or fails over the server", Severity.CRITICAL)
        self._call(done, "expiry_freeze", EXPIRY, "no backup and no WAL is removed", Severity.ERROR)
        return done

    def _facts(self, name: str) -> dict[str, str]:
        return {
            "target": self.params.target,
            "environment": self.params.environment,
            "incident run": self.run_id,
            "hook": name,
        }

    def _call(self, done: Done, name: str, act: str, why: str, severity: Severity) -> None:
        """The hook has succeeded once for this run, or its failure is a check that says so."""
        hook: Hook | None = getattr(self.params.hooks, name)
        if hook is None:
            done.say(name, "not in params", f"by hand, if there is such a thing: {why}")
            return
        before = self._recall(f"lockdown hook {name}") or {}
        if self.is_begun(act) and before.get("ok"):
            result = before
        else:
            undo = getattr(self.params.hooks, _UNDO_HOOKS[act])
            self._begin(act, describe_hook(undo) if undo else f"{BY_HAND}: params name no {_UNDO_HOOKS[act]}")
            called = call_hook(name, hook, self._facts(name))
            result = {"ok": called.ok, "what": called.what, "said": called.said, "seconds": round(called.seconds, 1)}
            self._remember(f"lockdown hook {name}", result)
        done.say(name, "done" if result["ok"] else "FAILED", result["said"])
        done.checks.append(_hook_check(name, why, result, severity))

    def require_ha_paused(self) -> None:
        """The HA manager was paused, or params know of none.

        Raises:
            PlatformError: pausing it failed: it may start or promote a server in the middle of a swap.
        """
        result = self._recall("lockdown hook ha_pause")
        if self.params.hooks.ha_pause is not None and not (result and result["ok"]):
            raise PlatformError(
                f"The HA manager was not paused ({result['said'] if result else 'not asked yet'}): it may start or promote a "
                "server while data directories are swapped. The database itself is closed.",
                next="Pause it so that the hook ha_pause succeeds; then resume, which calls the hook again.",
            )

    # -- the database

    def close(self) -> Done:
        """Nobody comes in but us, all others' sessions have ended, and autovacuum leaves dead rows alone.

        A server that is down is closed by its files, before anybody starts it.

        Raises:
            OperatorError, PlatformError: the database could not be closed; or it is, and the HA manager is not paused.
        """
        done = self._closing.close_living() if self.server.is_up() else self._closing.close_dead()
        self.require_ha_paused()
        return done

    def list_open(self) -> Done:
        """What a closed pg_hba.conf does not stop, and who follows this server: rows of kind, name, database, who, writes, to do."""
        return list_open(self.server) if self.server.is_up() else Done()

    def let_in(self, role: str, databases: Sequence[str]) -> None:
        """The role may log in to these databases with its password, from where we come; besides us, nobody else. Safe twice.

        Raises:
            PlatformError: the database is not closed by this run.
        """
        self._closing.let_in(role, databases)

    def shut_out(self, role: str) -> None:
        """It may not any more. Safe twice, and when the database is open again."""
        self._closing.shut_out(role)

    # -- WAL

    def secure_tail(self, progress: Callable[[str], None] = lambda said: None) -> Done:
        """All WAL so far is in the archive, or copied to the run's folder; `tail` tells where.

        Raises:
            PlatformError: neither could be had.
        """
        timeout = self.params.recovery.archive_timeout
        tail = secure_tail(self.server, self.folder, timeout=timeout, progress=progress)
        self._remember(_TAIL, tail.facts())
        done = Done()
        where = f"copied to {tail.folder}, since {tail.why}" if tail.folder else "in the archive"
        done.say("WAL", f"safe up to {format_lsn(tail.end)}", where)
        for name in tail.copied:
            done.say("segment", "copied", name)
        observed = f"up to {format_lsn(tail.end)} on timeline {tail.timeline}, {where} ({human_seconds(tail.seconds)})"
        done.checks.append(
            judge("lockdown-tail", "The tail of WAL is safe", "all WAL written so far, on disk", observed)
        )
        return done

    @property
    def tail(self) -> Tail | None:
        """The tail as it was secured last; its folder is the `extra` of a selection."""
        facts = self._recall(_TAIL)
        return Tail.from_facts(facts) if facts else None

    def prove_quiet(self, own_xids: Collection[int] = ()) -> Done:
        """WAL shows no commit but ours for `recovery.quiet_for`."""
        check = prove_quiet(self.server, seconds=self.params.recovery.quiet_for, own_xids=own_xids)
        done = Done([check])
        for finding in check.findings:
            done.say(finding.object, finding.observed, finding.message)
        return done

    # -- back

    def lift(self, only: Collection[str] | None = None) -> Done:
        """What was begun is taken back, in reverse order, on whatever server now stands there. Safe twice.

        Args:
            only: of LIFTED; all without it.

        What cannot be taken back stays noted, as a check that is UNKNOWN.
        """
        done = Done()
        for act in LIFTED:
            if (only is None or act in only) and self.is_begun(act):
                try:
                    check = self._lift(act)
                except RunbookError as cause:
                    check = _lifted(act, cause.message, cause.next or "Undo it by hand.")
                if check.status is Status.PASS:
                    self._end(act)
                done.checks.append(check)
                done.say(act, "taken back" if check.status is Status.PASS else "NOT TAKEN BACK", check.observed)
        return done

    def _lift(self, act: str) -> Check:
        if act == AUTOVACUUM:
            vacuumstop.start(self.server, self._recall(vacuumstop.KEY))
            return _lifted(act, "autovacuum is as it was before")
        if act == DOORS:
            hba_file = self._closing.hba_file()
            if hba_file is None:
                return _lifted(act, "its pg_hba.conf was not found", "Put <pg_hba.conf>.before-<run> back by hand.")
            opened = doors.open_again(self.server, hba_file, self.run_id)
            problems = " ".join(opened.problems)
            if opened.in_force:
                return _lifted(act, f"{opened.hba_file} is the original again. {problems}".strip())
            return _lifted(act, problems, f"Correct {opened.hba_file}, reload the server, then redo this step.")
        name = _UNDO_HOOKS[act]
        hook: Hook | None = getattr(self.params.hooks, name)
        if hook is None:
            return _lifted(act, f"params name no {name}", "Undo it by hand, and say so.")
        called = call_hook(name, hook, self._facts(name))
        return _lifted(act, called.said or "done", None if called.ok else f"Run it by hand: {called.what}")


def _hook_check(name: str, why: str, result: dict[str, Any], severity: Severity) -> Check:
    return Check(
        id=f"lockdown-{name.replace('_', '-')}",
        title=f"Hook {name}: {why}",
        status=Status.PASS if result["ok"] else Status.UNKNOWN,
        expected="the hook succeeds",
        observed=result["said"] or "done",
        severity=severity,
        reason=None if result["ok"] else f"{result['what']}: {result['said']}",
        next=None if result["ok"] else "Do it by hand, or correct the hook and redo this step.",
        source=result["what"],
        seconds=result["seconds"],
    )


def _lifted(act: str, observed: str, next: str | None = None) -> Check:
    """PASS without a next act, else UNKNOWN."""
    names = {AUTOVACUUM: "autovacuum", DOORS: "doors", EXPIRY: "expiry", HA: "ha", MAINTENANCE: "maintenance"}
    return judge(
        f"lockdown-lifted-{names[act]}",
        f"Taken back: {act}",
        "as it was before",
        observed,
        reason=observed if next else None,
        next=next,
    )
