"""The way 'copy-back' of a recovery: the rows that the damage took are copied back into production, which stays as it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from runbook.errors import OperatorError, PlatformError
from runbook.model import Check, Severity, Status
from runbook.platforms.cluster.live import read_position
from runbook.postgres.connect import Connection
from runbook.recovery.account import LATER, UNLISTED, Account, Counted, build_account, dump_counts, load_counts
from runbook.recovery.conflictfile import write_conflicts
from runbook.recovery.copyback import CopyBack
from runbook.recovery.copybackplan import LISTED, Conflict, CopyBackPlan, load_signed
from runbook.recovery.copydoor import writers_of
from runbook.recovery.course import Seen
from runbook.recovery.execution import Execution
from runbook.recovery.loss import Loss, TableLoss
from runbook.recovery.remaking import SchemaDump
from runbook.recovery.takenplan import shortened, write_statements
from runbook.recovery.writers import Writers
from runbook.texts import many

_COMMITTED = "committed"


class CopyingBack:
    """Copy-back as a recovery does it: planned before its gate, done once behind it.

    Args:
        execution: whose copy stands at the point.
    """

    def __init__(self, execution: Execution) -> None:
        self.execution, self.recovery, self.course = execution, execution.recovery, execution.course
        self._plan: CopyBackPlan | None = None
        self._counted: list[Counted] | None = None

    def _open_production(self, database: str) -> Connection:
        return self.execution.live.connect(database, read_only=False, statement_timeout=0, lock_timeout=30)

    def _open_reader(self, database: str) -> Connection:
        return self.execution.live.connect_reader(database, statement_timeout=0, lock_timeout=30)

    @property
    def writers(self) -> Writers:
        """Makes and drops the role that writes."""
        run = self.recovery.run
        return writers_of(self.recovery.lockdown, run.undo_first, run.undone)

    def _loss(self) -> Loss:
        """The loss as this attempt counts it."""
        if self.recovery.loss is None:
            self.recovery.learn_again()
        if self.recovery.loss is None:
            raise OperatorError(
                "Nothing lies behind the point: there is nothing to copy back.", next="Choose another way."
            )
        return self.recovery.loss

    def _copyback(self) -> CopyBack:
        self.execution.stand_at_the_point()
        beside, loss = self.execution.beside, self._loss()
        self.execution.name_from_copy(loss)
        assert beside.socket is not None
        env = {"PGHOST": str(beside.socket), "PGPORT": "5432", "PGUSER": beside.superuser}
        return CopyBack(
            loss,
            self._open_production,
            self.execution.open_copy,
            fates=self.recovery.fates(),
            open_reader=self._open_reader,
            writers=self.writers,
            dump=SchemaDump(beside.tools, env, beside.user),
            open_large_objects=beside.connect,
            leave_out=self.course.noted("triggers left out", []),
            progress=lambda label, done, total: self.recovery.show(label, done, total, "tables"),
        )

    def plan(self) -> CopyBackPlan:
        """What would be copied back now; production is as before."""
        if self._plan is None:
            copyback = self._copyback()
            plan = copyback.plan()
            if self.course.noted("copy-back transactions") is None:  # later counts find what was copied back already
                self._counted = copyback.count()
                self.course.note("copy-back counted", dump_counts(self._counted))
            if self.course.way is None:  # what the gate's plan says; once it is being carried out nothing else is
                self.course.note("copy-back signed", plan.signed())
            self._plan = plan
        return self._plan

    def forget_plan(self) -> None:
        """The next plan is made again: something was decided that changes it."""
        self._plan = None

    def plan_triggers(self) -> dict[str, list[str]]:
        """For the gate's plan: by table, the triggers that fire, are left out, or do not fire."""
        return {table.key: table.trigger_lines() for table in self.plan().tables if table.trigger_lines()}

    @property
    def counted(self) -> list[Counted] | None:
        """What the damage took, as it was counted before anything was copied back; None: it was not."""
        if self._counted is None:
            kept = self.course.noted("copy-back counted")
            self._counted = None if kept is None else load_counts(kept)
        return self._counted

    def refusal(self) -> str | None:
        """Why this way cannot be taken: the plan would restore nothing; None: it would."""
        why = self.plan().why_empty
        return None if why is None else f"copy-back would restore nothing: {why}"

    def plan_facts(self) -> dict[str, Any]:
        """For the gate's plan: by table, what comes back, and how many conflicts stay."""
        return {
            f"{table.database}: {table.table}": table.problem
            or (
                f"{many(table.insert, 'row')} inserted, {table.set_back:,} set back, {table.conflicting:,} in conflict"
                + (", made again" if table.is_made_again else "")
            )
            for table in self.plan().tables
        }

    def plan_left(self) -> list[str]:
        """For the gate's plan: damage that stays, and rows in conflict with the reasons."""
        plan = self.plan()
        doubts = [one.disagreement for one in self.counted or () if one.disagreement]
        listed = {(one.database, one.loss.title) for one in plan.tables} | {
            (one.database, one.table) for one in plan.tables
        }
        doubts += [
            f"{one.table}: {many(one.left, 'row')} taken by the damage, and no suspect names the table"
            for one in self.counted or ()
            if one.left and (one.database, one.table) not in listed
        ]
        later = [f"{one.table}: {many(one.later, 'row')} {LATER}" for one in self.counted or () if one.later]
        objects = [*plan.objects_left, *shortened(plan.objects_unclear), *shortened(plan.objects_made)]
        return [*plan.left, *doubts, *later, *plan.limits, *plan.warnings, *plan.conflict_lines(), *objects]

    def show(self) -> Seen:
        """The plan with its conflicts, for the operator to look at before choosing."""
        plan = self.plan()
        conflicts = [
            {"table": one.table, "key": str(one.key or one.place), "reason": one.reason}
            for _, one in zip(range(50), plan.conflicts(), strict=False)
        ]
        return Seen(rows=plan.rows(), facts={"conflicts": conflicts, "notes": plan.notes, "problems": plan.problems})

    def carry_out(self) -> Seen:
        """The rows are in production, once; a crash before or after the commit is told apart by the transaction's own fate.

        Raises:
            OperatorError: more would happen than was planned.
            PlatformError: a server was lost, or the role that writes cannot be made or dropped.
        """
        kept = self.course.noted("copied back")
        if kept is not None:
            return Seen.load(kept)
        self.writers.drop()  # of an attempt that was cut short
        copyback = self._copyback()
        xids: dict[str, int] = dict(self.course.noted("copy-back transactions", {}))
        fates = copyback.probe(xids) if xids else {}
        running = [name for name, fate in fates.items() if fate not in (_COMMITTED, "rolled back")]
        if running:
            raise PlatformError(
                f"What became of the copy-back's transaction in {', '.join(running)} cannot be told yet.",
                next="Wait until it has ended (pg_stat_activity), then resume.",
            )
        done = [name for name, fate in fates.items() if fate == _COMMITTED]

        def note(name: str, xid: int) -> None:
            xids[name] = xid
            self.course.note("copy-back transactions", xids)

        signed = self.course.noted("copy-back signed")
        planned = self.plan() if signed is None else load_signed(signed)
        if not xids and self.course.noted("copy-back from") is None:
            with self._open_reader("postgres") as connection:
                self.course.note("copy-back from", read_position(connection)[1])
        result = copyback.apply(planned, note, done=done)
        result.left, result.limits = planned.left, planned.limits
        # What the plan named is for the account, which asks whether it may stay so.
        fresh, further = [said for said in result.problems if said not in planned.problems], result.further(planned)
        status = Status.UNKNOWN if fresh else Status.FAIL if further else Status.PASS
        reason = (
            fresh[0]
            if fresh
            else f"{further:,} rows are in conflict that were not when this was approved"
            if further
            else None
        )
        counted = planned if done else result
        check = Check(
            id="recovery-copied-back",
            title="The rows that the damage took are back in production",
            status=status,
            expected="all but those that the approved plan names as in conflict",
            observed=f"{counted.insert:,} inserted, {counted.set_back:,} set back, {counted.conflicting:,} in conflict",
            severity=Severity.ERROR,
            reason=reason,
            next="Copy back by hand what is named, from the loss files or the record of this run." if reason else None,
        )
        notes = [f"{name} was copied back by an attempt before this one" for name in done]
        unclear = shortened(result.objects_unclear)
        limits = [f"{said}." for said in [*result.unrepaired, *result.limits, *result.warnings, *unclear]]
        statements = write_statements(self.recovery.run.dir / "loss", result.objects)
        if statements is not None:
            limits.append(f"The statements for objects that were not made again are in {statements}.")
        account, more = self._account(copyback, result)
        if result.conflicting or more:
            rules = self.recovery.params.recovery.personal_data
            file = write_conflicts(self.recovery.run.dir / "loss", result, rules, more)
            said = [*result.conflict_lines(), *([f"{many(len(more), 'row')} more not brought back"] if more else [])]
            limits += [f"{one}. Each is listed in {file}." for one in said]
        facts = {
            "notes": [*result.notes, *notes, *result.objects_made],
            "transactions": xids,
            "limits": limits,
            "in conflict": result.conflicting,
            "account": account.facts(),
        }
        seen = Seen([check], result.rows(), facts)
        self.course.note("copied back", seen.dump())
        return seen

    def _account(self, copyback: CopyBack, result: CopyBackPlan) -> tuple[Account, list[tuple[TableLoss, Conflict]]]:
        """What became of each row that the damage took; and the rows that nothing brought back and that the result does not list."""
        alone = {(one.database, one.loss.title): one.problem for one in result.tables if one.problem}
        listed = {(one.database, one.loss.title) for one in result.tables} - set(alone)
        more: list[tuple[TableLoss, Conflict]] = []
        heard: Counter[tuple[str, str, str]] = Counter()

        def note(table: TableLoss, row: Conflict) -> None:
            key = table.name.database_name if table.name else "", row.table
            if not row.reason and key in listed:
                return  # in the result with its reason, or unnamed: the account says so
            heard[*key, row.reason] += 1
            if heard[*key, row.reason] <= LISTED:
                reason = row.reason or alone.get(key) or UNLISTED
                more.append((table, replace(row, reason=reason)))

        counted = copyback.count(note)
        losses = {(one.database, one.loss.title): one.loss for one in result.tables}
        for one in counted:
            gone = one.later - heard[one.database, one.table, LATER]
            if gone > 0 and (loss := losses.get((one.database, one.table))) is not None:
                said = f"{many(gone, 'row')} {LATER}; went with the table's file, so that WAL alone has them"
                more.append((loss, Conflict(one.table, {}, "", said)))
        return build_account(self.counted, counted, result), more
