"""Run records and executed notebooks as backup verification leaves them, for tests of the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat import v4 as nb4
from runbook.model import (
    Check,
    FileFacts,
    Finding,
    Measure,
    RunRecord,
    Severity,
    Status,
    StepRecord,
    StepState,
    TargetFacts,
    Verdict,
)
from runbook.report import bar_chart, checks_table, line_chart, table

START = datetime(2026, 11, 22, 2, 13, 38, 120000, tzinfo=UTC)
STEPS = (
    ("Choose the backup", 0.4),
    ("Resolve the recovery point", 0.2),
    ("Verify the backup against its manifest", 21.3),
    ("Restore into an isolated scratch cluster", 184.0),
    ("Compare with the fence", 46.9),
    ("Run the SQL checks", 9.8),
    ("Measure RTO and RPO", 0.1),
    ("Clean up", 2.2),
)
DAMAGE = (
    "Index public.idx_vehicles_vin does not match its table: 2 heap tuples have no index entry "
    "(block 4711, offsets 3 and 9)"
)


def check(number: int, title: str, expected: str, observed: str, **more: Any) -> Check:
    fields: dict[str, Any] = {
        "id": f"sql/{title.lower().replace(' ', '_')[:30]}@dealerscope",
        "title": title,
        "status": Status.PASS,
        "expected": expected,
        "observed": observed,
        "seconds": number / 7,
    }
    return Check.model_validate({**fields, **more})


PASSED = (
    check(1, "Backup matches its manifest", "0", "0", unit="files differing", object="base/20261121T230000Z",
          id="backup/manifest", source="pg_verifybackup 17.5"),
    check(2, "Recovery stopped at the chosen LSN", "0/5C0A3F28", "0/5C0A3F28", object="timeline 1",
          id="recovery/reached-lsn"),
    check(3, "Every relation reads to its end", "412", "412", unit="relations", object="dealerscope",
          id="read/relations@dealerscope"),
    check(4, "Rows equal the fence", "18 tables, 4 210 337 rows", "18 tables, 4 210 337 rows", object="dealerscope",
          id="fence/rows@dealerscope"),
    check(5, "Content hashes equal the fence", "18", "18", unit="tables equal", object="dealerscope",
          id="fence/hashes@dealerscope"),
    check(6, "No orphaned vehicles", "0", "0", unit="rows", object="public.vehicles",
          id="sql/orphaned_vehicles@dealerscope", source="sql/verification/count_orphaned_vehicles.sql"),
    check(7, "Heartbeat is fresh", "at most 300", "42", unit="s", object="public.heartbeat",
          id="sql/heartbeat_age@dealerscope"),
    check(8, "Constraints are valid", "0", "0", unit="constraints not valid", object="dealerscope",
          id="sql/invalid_constraints@dealerscope"),
)  # fmt: skip

FINDINGS = (
    Finding(id="index/missing-tuple", object="public.idx_vehicles_vin", severity=Severity.CRITICAL, observed="2",
            expected="0", unit="heap tuples without an index entry",
            message="Queries by VIN miss these rows, and a unique check would let doubles in.",
            next="REINDEX INDEX CONCURRENTLY public.idx_vehicles_vin; on production, then verify a new backup."),
    Finding(id="relation/bloat", object="public.auction_data", severity=Severity.WARNING, observed="38", expected="20",
            unit="% dead", message="Autovacuum does not keep up."),
)  # fmt: skip

FAILED = (
    check(9, "Indexes match their tables", "0", "1", unit="damaged indexes", object="public.idx_vehicles_vin",
          id="amcheck/indexes@dealerscope", status=Status.FAIL, severity=Severity.CRITICAL, reason=DAMAGE + ".",
          next="Reindex it on production, take a new backup, and verify that one.",
          source="pg_amcheck 17.5 --heapallindexed", findings=FINDINGS[:1]),
)  # fmt: skip
UNKNOWN = (
    check(10, "Login sessions survive the restore", "a count", "nothing", object="auth.sessions",
          id="sql/sessions@dealerscope", status=Status.UNKNOWN,
          reason="permission denied for schema auth: the role runbook_reader cannot read auth.sessions.",
          next="GRANT USAGE ON SCHEMA auth TO runbook_reader; GRANT SELECT ON auth.sessions TO runbook_reader;"),
)  # fmt: skip


def record(verdict: Verdict = Verdict.PASS, **changes: Any) -> RunRecord:
    """A believable record of each verdict."""
    ran = 5 if verdict is Verdict.INCOMPLETE else len(STEPS)
    steps, at = [], START
    for index, (name, seconds) in enumerate(STEPS):
        if index < ran:
            steps.append(
                StepRecord(name=name, state=StepState.DONE, started_at=at, ended_at=at + timedelta(seconds=seconds),
                           seconds=seconds, once=index == 1, attempt=1)
            )  # fmt: skip
            at += timedelta(seconds=seconds)
        elif index == ran:
            steps.append(
                StepRecord(name=name, state=StepState.FAILED, started_at=at, seconds=1.1,
                           reason="the kernel died (signal 9) in this step", next="runbook doctor")
            )  # fmt: skip
        else:
            steps.append(StepRecord(name=name, state=StepState.NOT_RUN))
    production = verdict is not Verdict.PASS
    name = "production" if production else "sandbox"
    run = "20261122T021338Z-backup-verification-3f9a"
    fields: dict[str, Any] = {
        "run": run,
        "attempt": 1,
        "runbook": "backup-verification",
        "title": "04 · Can the newest backup be restored, and is it whole?",
        "verdict": verdict,
        "reason": {
            Verdict.PASS: "8 checks passed on the restored cluster; recovery reached 0/5C0A3F28 on timeline 1.",
            Verdict.FAIL: f"1 of 10 checks failed: {DAMAGE}.",
            Verdict.INCOMPLETE: "The kernel died (signal 9) in the step «Run the SQL checks»; 2 steps did not run.",
            Verdict.WAITING: "The gate «promote» waits for one approval.",
        }[verdict],
        "exit_code": {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.WAITING: 3, Verdict.INCOMPLETE: 4}[verdict],
        "limitations": (
            "Sandbox target: this run satisfies no control.",
        ) if not production else (
            "The scratch ran with fsync off: its speed says nothing of a production restore's fsync cost.",
            "auth.sessions could not be read: its rows are not compared.",
        ),
        "target": TargetFacts(name=name, environment=name, platform="cluster",
                              system_identifier="7561234567890123456", server_version="17.5",
                              host="db1.dealerscope.example"),
        "started_at": START,
        "ended_at": START + timedelta(seconds=264.9),
        "seconds": 264.9,
        "operator": "m.okafor",
        "host": "ops2.dealerscope.example",
        "started_by": "runbook run",
        "scheduled_for": START.replace(minute=0, second=0, microsecond=0) if production else None,
        "controls": ("SOC 2 A1.2", "SOC 2 A1.3", "ISO 27001 A.8.13"),
        "satisfies_controls": False,
        "parameters": {"target": name, "recovery_point": "latest", "keep_scratch": False,
                       "checks": ["integrity", "fence", "sql"], "connection": "«secret PGPASSWORD»"},
        "params_file": FileFacts(path=f"params/{name}.yaml", sha256="4c" * 32),
        "notebook": FileFacts(path="notebooks/04_backup_verification.ipynb", sha256="9e" * 32),
        "commit": "58b93e0c1f2a4d5e6f708192a3b4c5d6e7f80912",
        "library_sha256": "1b" * 32,
        "tools": {"postgres": "17.5", "pg_verifybackup": "17.5", "pg_amcheck": "17.5", "python": "3.11.2",
                  "papermill": "2.7.0"},
        "steps": tuple(steps),
        "checks": {Verdict.FAIL: (*PASSED[:4], *UNKNOWN, *FAILED, *PASSED[4:]),
                   Verdict.INCOMPLETE: (*PASSED[:5], *UNKNOWN)}.get(verdict, PASSED),
        "findings": FINDINGS if verdict is Verdict.FAIL else (),
        "measures": (
            Measure(name="rto", title="Recovery time", value=216.4, unit="s", budget=1800, source="params: RTO, DR plan 3.2"),
            Measure(name="rpo", title="Data lost at the newest point", value=42.0 if verdict is not Verdict.FAIL else 612.0,
                    unit="s", budget=300, source="params: RPO, DR plan 3.2"),
            Measure(name="size", title="Restored", value=1610612736, unit="bytes"),
        ),
        "facts": {"recovery_point": {"asked": "latest", "lsn": "0/5C0A3F28", "timeline": 1,
                                     "segment": "00000001000000000000005C"},
                  "backup": {"label": "20261121T230000Z", "files": 1873}},
        "previous_record": None,
        "ledger_line": 17,
        "next_command": None if verdict is Verdict.PASS else f"runbook resume {run}",
    }  # fmt: skip
    return RunRecord.model_validate({**fields, **changes})


def _shown(thing: Any) -> NotebookNode:
    return nb4.new_output("display_data", thing._repr_mimebundle_())


def _stamped(
    source: str, outputs: list[NotebookNode], state: str = "done", seconds: float | None = 0.4
) -> NotebookNode:
    cell = nb4.new_code_cell(source, outputs=outputs, execution_count=None if state == "not run" else 1)
    cell.metadata["runbook"] = {"state": state} if seconds is None else {"state": state, "seconds": seconds}
    return cell


def volume_chart() -> Any:
    days = [START - timedelta(days=day) for day in range(13, -1, -1)]
    rows = [4180, 4310, 3990, 1720, 1650, 4400, 4520, 4380, 4290, 4150, 1810, 1700, 4480, 4610]
    return line_chart(days, rows, title="Vehicles by day", unit="rows",
                      finding="No day of the last 14 is empty; weekends hold about 40 % of a weekday.")  # fmt: skip


def size_chart() -> Any:
    return bar_chart(
        ["public.auction_data", "public.vehicles", "public.bids", "auth.sessions", "public.dealers"],
        [811, 402.5, 166.25, 31, 2],
        title="Table sizes", unit="MiB", finding="public.auction_data holds 57 % of the restored data.",
    )  # fmt: skip


def notebook(verdict: Verdict = Verdict.PASS) -> NotebookNode:
    """The executed notebook that belongs to the record."""
    broken = verdict is Verdict.INCOMPLETE
    md, stamped = nb4.new_markdown_cell, _stamped
    backups = table(
        [
            {"label": "20261121T230000Z", "taken_at": START - timedelta(hours=3), "size_bytes": 1610612736, "usable": True},
            {"label": "20261120T230000Z", "taken_at": START - timedelta(hours=27), "size_bytes": 1598029824, "usable": True},
        ],
        {"label": "Backup", "taken_at": "Taken at", "size_bytes": "Size, bytes", "usable": "Usable"},
        caption="Backups that can reach the point",
    )  # fmt: skip
    wide = table([{f"column_{index}": f"value {index} of a wide row" for index in range(14)}], caption="A wide table")
    cells = [
        md("# 04 · Can the newest backup be restored, and is it whole?\n\nRestores into a **scratch cluster** that can "
           "reach nothing but itself. Risk: none for production; it is read only."),
        stamped('target = "sandbox"  # params/<target>.yaml\nrecovery_point = "latest"  # latest | aware time | N hours ago', []),
        md("## Choose the backup\n\nThe newest one whose WAL reaches the point."),
        stamped('backup = run.step("Choose the backup", lambda: choose_backup(platform, point))\n'
                'table(backup.candidates, caption="Backups that can reach the point")', [_shown(backups)]),
        md("## Resolve the recovery point\n\n`latest` becomes an LSN, so that the run can be repeated. Loss is "
           "$t_{fail} - t_{commit}$."),
        stamped('point = run.step("Resolve the recovery point", resolve, once=True)', [_shown(wide)]),
        md("## Verify the backup against its manifest"),
        stamped('run.step("Verify the backup against its manifest", verify)',
                [nb4.new_output("stream", name="stdout", text="\x1b[32mbackup successfully verified\x1b[0m\n"
                                + "checked " + "x" * 220 + "\n")], seconds=21.3),
        md("## Restore into an isolated scratch cluster"),
        stamped('run.step("Restore into an isolated scratch cluster", restore)', [_shown(size_chart())], seconds=184.0),
        md("## Compare with the fence"),
        stamped('run.check(run.step("Compare with the fence", compare))',
                [_shown(checks_table(record(verdict).checks, caption="Fence and SQL checks"))], seconds=46.9),
        md("## Run the SQL checks"),
        stamped('run.check(run.step("Run the SQL checks", run_checks))',
                [nb4.new_output("error", ename="DeadKernelError", evalue="Kernel died (signal 9)",
                                traceback=["\x1b[0;31mDeadKernelError\x1b[0m: Kernel died"])] if broken
                else [_shown(volume_chart())], state="interrupted" if broken else "done", seconds=9.8),
        md("## Measure RTO and RPO"),
        stamped('run.step("Measure RTO and RPO", measure)', [], state="not run" if broken else "done",
                seconds=None if broken else 0.1),
        md("## Clean up"),
        stamped('run.step("Clean up", clean)\nrun.conclude()', [], state="not run" if broken else "done",
                seconds=None if broken else 2.2),
    ]  # fmt: skip
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    made: NotebookNode = nb4.new_notebook(cells=cells)
    nbformat.validate(made)
    return made
