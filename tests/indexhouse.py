"""An archive of many records, made without signatures and flushing, and what was due: for the index pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from archivehouse import a_record
from runbook.archive.records import folder_suffix, run_json
from runbook.archive.sums import sha256, write_sums
from runbook.archive.tree import Tree
from runbook.index.population import Control, Due, Excepted
from runbook.index.rows import read_rows
from runbook.model import Check, Measure, RunRecord, Status, TargetFacts, Verdict

AS_OF = datetime(2026, 5, 20, 12, tzinfo=UTC)
START = datetime(2024, 1, 7, 2, tzinfo=UTC)
RUNBOOKS = {
    "backup-verification": "backup-verification",
    "point-in-time-recovery": "annual-disaster-recovery-test",
}
DAMAGE = "Index public.idx_vehicles_vin does not match its table: 2 heap tuples have no index entry (block 4711)."

#: What a database, a person or a tampered file may hold: each comes out as text.
HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src='https://evil.example/x.png' onerror=\"document.title='owned'\">",
    "safe\u202egnitset\u2066 mirror",
    "\x1b[31mred\x1b[0m\rPASS\x00\x07",
    "</td></table></main><style>body{display:none}</style>",
    '=HYPERLINK("https://evil.example")',
    "{{ 7 * 7 }}",
    "x" * 100_000,
)


def put_record(home: Path, number: int, record: RunRecord, report: bytes = b"<!doctype html><title>r</title>") -> Path:
    """The record lies in the archive."""
    folder = home / "reports" / "records" / f"{number:06d}-{folder_suffix(record)}"
    folder.mkdir(parents=True)
    content = run_json(record)
    (folder / "run.json").write_bytes(content)
    (folder / "report.html").write_bytes(report)
    (folder / "SHA256SUMS").write_bytes(write_sums({"run.json": sha256(content)}, None))
    return folder


def measures(rto: float, rpo: float) -> tuple[Measure, ...]:
    return (
        Measure(name="rto", title="RTO", value=rto, unit="s", budget=1200),
        Measure(name="rpo", title="RPO", value=rpo, unit="s", budget=300),
    )


def plain_record(number: int, count: int, **changes: object) -> RunRecord:
    """One of `count` records that lie evenly over 28 months, on three targets; every ninth fails."""
    runbook = list(RUNBOOKS)[number % 5 == 0]
    verdict = Verdict.FAIL if number % 9 == 0 else Verdict.INCOMPLETE if number % 31 == 0 else Verdict.PASS
    started = START + timedelta(days=850 * number / count)
    fields: dict[str, object] = {
        "runbook": runbook, "verdict": verdict, "satisfies_controls": verdict is Verdict.PASS, "controls": (RUNBOOKS[runbook],),
        "target": TargetFacts(name=("billing", "crm", "shop")[number % 3], environment="production", platform="cluster"),
        "started_at": started, "ended_at": started + timedelta(seconds=200 + number % 70),
        "reason": "All checks passed." if verdict is Verdict.PASS else DAMAGE,
        "measures": measures(900 + 13 * (number % 29), 5 + number % 200),
    }  # fmt: skip
    return a_record(number, **{**fields, **changes})


def fill_many(home: Path, count: int) -> None:
    for number in range(1, count + 1):
        put_record(home, number, plain_record(number, count))


def hostile_records(home: Path, first: int) -> None:
    """A record for each hostile text, which stands wherever a record holds text."""
    for number, text in enumerate(HOSTILE, start=first):
        check = Check(id="c", title=text, status=Status.FAIL, expected=text, observed=text, reason=text)
        where = TargetFacts(name="hostile", environment=text, platform=text, host=text)
        put_record(
            home, number,
            plain_record(number, first, target=where, verdict=Verdict.FAIL, satisfies_controls=False, reason=text, operator=text,
                         title=text, controls=(text,), limitations=(text,), checks=(check,), run=text),
        )  # fmt: skip


def monthly_control(home: Path, extra: Iterable[Due] = ()) -> Control:
    """What was due for backup verification: done, missed, due, excepted, and one that is called done and is not."""
    rows = [row for row in read_rows(Tree(home / "reports")) if row.runbook == "backup-verification"]
    done = [row for row in rows if row.satisfies][:20]
    failed = next(row for row in rows if not row.is_pass)
    periods = [
        Due(row.target, row.started_at.date().replace(day=1), row.started_at.date(), row.ended_at, "done", row.name)
        for row in done
    ]
    periods += [
        Due("billing", date(2026, 3, 1), date(2026, 3, 31), datetime(2026, 4, 5, tzinfo=UTC), "missed"),
        Due("crm", date(2026, 4, 1), date(2026, 4, 30), datetime(2026, 5, 5, tzinfo=UTC), "excepted", None, "host replaced"),
        Due("crm", date(2026, 5, 1), date(2026, 5, 31), datetime(2026, 6, 5, tzinfo=UTC), "due"),
        Due(failed.target, date(2026, 2, 1), date(2026, 2, 28), datetime(2026, 3, 5, tzinfo=UTC), "done", failed.name),
    ]  # fmt: skip
    exceptions = (
        Excepted("ann@example.org", "the host is replaced in May", date(2026, 6, 30), "crm"),
        Excepted("bob@example.org", "no room for a scratch", date(2025, 5, 31), "shop"),
    )
    references = {"SOC 2": "A1.2, A1.3", "ISO 27001": "A.8.13"}
    return Control("backup-verification", "Monthly backup verification", (*periods, *extra), exceptions, references)
