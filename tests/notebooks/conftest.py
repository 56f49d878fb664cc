"""A home of its own for each test; nothing of a run may be left when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, marked


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home = tmp_path / "home"
    for name in ("notebooks", "params"):
        (home / name).mkdir(parents=True)
    house = House(home)
    house.add_params()
    yield house
    left = marked(home)
    for process in left:
        process.kill()
    assert left == [], "a test left processes of a run"
