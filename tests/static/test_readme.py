"""The README names every command: one that nobody can read about does not exist."""

from __future__ import annotations

import re

import pytest
from runbook import layout
from runbook.cli.main import build_app, command_names

README = (layout.CHECKOUT / "README.md").read_text()


@pytest.mark.parametrize("name", command_names(build_app(None)))
def test_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"\brunbook {re.escape(name)}\b", README), f"README.md does not mention `runbook {name}`"


def test_exit_codes_are_in_the_readme() -> None:
    for word in ("PASS", "FAIL", "WAITING", "INCOMPLETE", "locked", "refused"):
        assert word.lower() in README.lower()
