"""No record of a shipped notebook says one thing here and another there: all of them are run as they are, and read."""

from __future__ import annotations

from pathlib import Path

import pytest
from contradictions import in_archive
from recovering import Recovering, suffer
from runbook import layout
from runbook.session import notebook

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.mark.timeout(900)
def test_records_of_all_shipped_notebooks_do_not_contradict_themselves(live_home: Path) -> None:
    suffer()
    say, made = Recovering(), []
    for path in sorted(layout.notebooks().glob("*.ipynb")):
        said = say.say("run", notebook.slug_of(path), "--target", "sandbox")
        assert said.last.get("record"), f"{path.name}: {said.stdout}{said.stderr}"
        made.append(said.last["record"])
    assert len(made) == len(set(made)) >= 7
    assert "\n".join(in_archive(layout.records())) == ""
