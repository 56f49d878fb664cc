"""The archive against stock tools on the same files, in one run on one machine: ratios, not times.

Verify: `sha256sum` and `ssh-keygen` for every record, by hand, as many at once as there are cores. Add: one record into an archive of
many, against one into an archive of few. Index: all pages of many records, in seconds and in the size of the largest page. Usage:
`make bench` (RECORDS=200 MANY=2000 for a quick look).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from archivehouse import a_record, fill, open_run
from homes import at_home
from indexhouse import AS_OF, monthly_control, plain_record, put_record
from runbook.archive.records import commit_record
from runbook.archive.verify import verify_archive
from runbook.index.build import build_index
from runbook.model import Check, Status

VERIFY_LIMIT, ADD_LIMIT = 1.2, 1.5
INDEX_SECONDS, PAGE_BYTES = 20.0, 500_000
PAYLOAD = {"report.html": b"<p>x</p>" * 7000, "executed.ipynb": b"{}" * 20000, "source.ipynb": b"{}" * 4000}

_ONE = (
    'cd "$1" && sha256sum -c --strict --quiet SHA256SUMS && { read -r _ _; read -r _ at; read -r _ who; } < archived.txt && '
    "ssh-keygen -Y verify -f ../../allowed_signers -I $who -n runbook-evidence -s SHA256SUMS.sig -Overify-time=$at "
    "< SHA256SUMS > /dev/null"
)


def by_hand(reports: Path) -> float:
    """Seconds for the stock tools, in parallel over the cores."""
    names = "\n".join(sorted(str(path) for path in (reports / "records").iterdir()))
    argv = ["xargs", "-P", str(os.cpu_count()), "-I", "{}", "sh", "-c", _ONE, "sh", "{}"]
    began = time.monotonic()
    subprocess.run(argv, input=names, text=True, check=True, env={**os.environ, "TZ": "UTC"})
    return time.monotonic() - began


def verify_ratio(home: Path, count: int) -> float:
    with at_home(home):
        for number in range(1, count + 1):
            open_run(home, number)
            commit_record(PAYLOAD, a_record(number))
    ours, theirs = [], []
    for _ in range(2):
        began = time.monotonic()
        found = verify_archive(home / "reports")
        ours.append(time.monotonic() - began)
        assert not found.problems and len(found.signed) == count
        theirs.append(by_hand(home / "reports"))
    print(f"    verify {count} records: {min(ours):.2f} s, by hand {min(theirs):.2f} s")
    began = time.monotonic()
    subprocess.run(["sh", str(home / "reports" / "verify.sh")], check=True, capture_output=True)
    print(f"    verify.sh, one after the other: {time.monotonic() - began:.2f} s")
    return min(ours) / min(theirs)


def grow(home: Path, count: int) -> None:
    """An archive of that many records, as cheaply as can be: whole folders of hard links, RUNS to match."""
    fill(home, 1, 2)
    reports = home / "reports"
    first = sorted((reports / "records").iterdir())[0]
    last = sorted((reports / "records").iterdir())[-1]
    for number in range(2, count):
        shutil.copytree(first, reports / "records" / f"{number:06d}-20260101T{number:06d}Z-x-y", copy_function=os.link)
    last.rename(last.with_name(f"{count:06d}" + last.name[6:]))
    with (reports / "RUNS").open("a") as ledger:
        ledger.writelines(
            f"{number:06d} 2026-01-01T00:00:00.000000Z run-{number} x y z\n" for number in range(3, count + 1)
        )


def add_one(home: Path, number: int) -> float:
    """Seconds for one record."""
    with at_home(home):
        open_run(home, number)
        began = time.monotonic()
        commit_record(PAYLOAD, a_record(number))
        return time.monotonic() - began


def add_medians(few: Path, lots: Path, many: int, times: int = 45) -> tuple[float, float]:
    """The medians of adding to either, one by one in turns, since the machine is shared."""
    both = [(add_one(few, 100 + turn), add_one(lots, many + turn)) for turn in range(1, times + 1)]
    return statistics.median(one for one, _ in both), statistics.median(other for _, other in both)


def index_figures(home: Path, count: int) -> tuple[float, int]:
    """Seconds to build all pages from nothing, and the bytes of the largest; records hold sixty checks each, as real ones do."""
    checks = tuple(
        Check(id=f"sql/check_{number}", title=f"Check {number} of the data", status=Status.PASS, expected="rows = 0",
              observed="0", unit="rows", object="shop", source=f"sql/verification/check_{number}.sql", seconds=0.01)
        for number in range(60)
    )  # fmt: skip
    for number in range(1, count + 1):
        put_record(home, number, plain_record(number, count, checks=checks))
    with at_home(home):
        control = monthly_control(home)
        began = time.monotonic()
        built = build_index([control], AS_OF)
        took = time.monotonic() - began
    assert built.records == count and not built.unreadable
    pages = [built.front, *built.front.with_name("index").glob("*.html")]
    return took, max(page.stat().st_size for page in pages)


def main() -> int:
    records, many = int(os.environ.get("RECORDS", "1000")), int(os.environ.get("MANY", "10000"))
    with tempfile.TemporaryDirectory(prefix="rb-bench-archive-") as folder:
        root = Path(folder)
        for name in ("whole", "few", "many", "indexed"):
            (root / name).mkdir()
        verify = verify_ratio(root / "whole", records)
        grow(root / "few", 100)
        grow(root / "many", many)
        few, lots = add_medians(root / "few", root / "many", many)
        took, largest = index_figures(root / "indexed", many)
        print(f"    add one to 100: {few * 1000:.1f} ms; to {many}: {lots * 1000:.1f} ms")
    print(f"verify / by hand: {verify:.2f} (at most {VERIFY_LIMIT})")
    add = lots / few
    print(f"add to {many} / add to 100: {add:.2f} (at most {ADD_LIMIT})")
    print(
        f"index of {many} records: {took:.1f} s (at most {INDEX_SECONDS:g}), largest page {largest} bytes (below {PAGE_BYTES})"
    )
    good = verify <= VERIFY_LIMIT and add <= ADD_LIMIT and took <= INDEX_SECONDS and largest < PAGE_BYTES
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
