"""A report is its record and its executed notebook, and nothing else: rendered again, elsewhere and later, it has the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from house import CONCLUDE, FAILING, House

SHOWN = (
    "from runbook.report import bar_chart, table\n"
    'display(table([{"name": "<b>x</b>", "rows": rows}], caption="What was counted"))\n'
    'bar_chart(labels=["a", "b"], values=[1.0, 2.5], title="Rows", unit="rows", finding="b has most rows: 2.5.")'
)
AGAIN = (
    "import pathlib, sys, nbformat\n"
    "from runbook.model import RunRecord\n"
    "from runbook.report.render import render_report\n"
    "from runbook.session.statements import read_statements\n"
    "folder = pathlib.Path(sys.argv[1])\n"
    "record = RunRecord.model_validate_json((folder / 'run.json').read_text())\n"
    "sys.stdout.write(render_report(record, nbformat.reads((folder / 'executed.ipynb').read_text(), 4), "
    "read_statements(folder)))"
)


def test_executed_notebook_of_a_record_renders_to_the_same_bytes_elsewhere(house: House, tmp_path: Path) -> None:
    house.add_notebook("bad", SHOWN, FAILING, CONCLUDE)
    result = house.runbook("run", "bad")
    assert result.code == 1, result.stderr
    copied = tmp_path / "auditor"
    shutil.copytree(house.home / result.last["record"], copied)
    html = (copied / "report.html").read_bytes()
    assert b"What was counted" in html and b"b has most rows: 2.5." in html
    (copied / "report.html").unlink()
    again = subprocess.run(
        [sys.executable, "-c", AGAIN, str(copied)], capture_output=True, check=True, cwd="/",
        env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    assert again == html
