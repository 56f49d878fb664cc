"""The fixtures `pristine` and `shop`, for a test module's pytest_plugins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from homes import open_folder
from own_cluster import own_cluster
from shop import MARKS, Shop, add_mark, fill, relation_files


@pytest.fixture(scope="session")
def pristine() -> Iterator[Shop]:
    """The stopped cluster itself: look, do not touch."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        began_at = cluster.now()
        cluster.sql("CHECKPOINT")
        cluster.backup("first")
        cluster.sql("INSERT INTO item SELECT g, md5(g::text) FROM generate_series(30001, 31000) AS g", database="shop")
        cluster.fence()
        marks = []
        for number in range(1, MARKS + 1):
            marks.append(add_mark(cluster, number))
            cluster.sql("UPDATE item SET name = name || 'x' WHERE id % 50 = 0", database="shop")
            cluster.switch()
        files = relation_files(cluster)
        cluster.stop()
        yield Shop(cluster, files, tuple(marks), began_at)


@pytest.fixture
def shop(pristine: Shop) -> Iterator[Shop]:
    """Backups, archive and fence to damage; no data directory."""
    with open_folder() as folder:
        yield pristine.copy(folder / "home")
