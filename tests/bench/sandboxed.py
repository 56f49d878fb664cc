"""A sandbox of a benchmark's own, of the size that SIZE says: small, medium, or large with GIGABYTES (10)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RUNBOOK = str(Path(sys.executable).parent / "runbook")


def run_in_sandbox(what: str, compare: Callable[[Path], object]) -> None:
    """The comparison has been made in a home with a sandbox, which is gone again."""
    size = os.environ.get("SIZE", "medium")
    room = ["--gigabytes", os.environ.get("GIGABYTES", "10")] if size == "large" else []
    home = Path(os.environ.get("RUNBOOK_HOME") or tempfile.mkdtemp(prefix="rb-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    os.environ["RUNBOOK_HOME"] = str(home)
    print(f"{what} of a sandbox of size {' '.join([size, *room])} …")
    subprocess.run([RUNBOOK, "sandbox", "up", "--size", size, *room], check=True)
    try:
        compare(home)
    finally:
        subprocess.run([RUNBOOK, "sandbox", "down", "--remove"], check=True)
        if "rb-bench-" in home.name:
            shutil.rmtree(home)
