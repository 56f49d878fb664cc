"""A cluster on which damage is done and looked for in its WAL, with names from its base backup only unless asked otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from own_cluster import OwnCluster, own_cluster
from runbook.postgres.connect import Connection, connect
from runbook.postgres.wal import SEGMENT_NAME, Timeline, parse_lsn, read_segment_header
from runbook.recovery.catalogfiles import backup_page, read_backup_names
from runbook.recovery.forensics import WalSearch, search_wal
from runbook.recovery.relnames import NameBook, read_names
from runbook.recovery.suspects import Suspect, rank_suspects

LINEAGE = (Timeline(1, 0, None),)


@dataclass
class Scene:
    """A cluster with a base backup; `start` is a position at the backup's end."""

    cluster: OwnCluster
    backup: Path
    start: int

    def names(self, *, present: bool = False) -> NameBook:
        book = NameBook()
        book.add(read_backup_names(self.backup, self.cluster.tools.major))
        if present:
            book.add(read_names(self.open, "postgres", "the damaged server"), is_present=True)
        return book

    def open(self, database: str, user: str = "postgres") -> Connection:
        return connect(
            socket=self.cluster.socket, database=database, user=user, application="test", statement_timeout=0
        )

    def position(self) -> int:
        return parse_lsn(self.cluster.lsn())

    def search(self, start: int | None = None, end: int | None = None, count_from: int = 0) -> WalSearch:
        """The living server's own WAL, up to now, without segments that are only laid out for later: pg_waldump stumbles over those."""
        with tempfile.TemporaryDirectory(prefix="rb-") as folder:
            for path in (self.cluster.data / "pg_wal").iterdir():
                if SEGMENT_NAME.match(path.name) and read_segment_header(path) is not None:
                    (Path(folder) / path.name).symlink_to(path)
            return search_wal(
                Path(folder),
                LINEAGE,
                self.cluster.tools,
                start or self.start,
                end or self.position(),
                count_from=count_from,
                seed=lambda file, number: backup_page(self.backup, file, number),
            )

    def run(self, *statements: str, database: str = "shop") -> int:
        """The statements have run over one connection; the position before them."""
        before = self.position()
        with self.cluster.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)
        return before

    def accuse(self, *statements: str, database: str = "shop", names: NameBook | None = None) -> list[Suspect]:
        """What is suspected of the statements; all WAL since the backup is searched, so names follow."""
        before = self.run(*statements, database=database)
        ranked = rank_suspects(self.search(), names or self.names(), most=50)
        return [suspect for suspect in ranked if suspect.commit.lsn >= before]


@contextmanager
def scene(*statements: str, settings: dict[str, str] | None = None, major: int = 17) -> Iterator[Scene]:
    """A cluster whose database shop was made by the statements, backed up."""
    with own_cluster(major=major, settings={"wal_keep_size": "2GB", **(settings or {})}) as cluster:
        cluster.create_database("shop", *statements, "VACUUM ANALYZE")
        backup = cluster.backup("first")
        yield Scene(cluster, backup, parse_lsn(cluster.lsn()))
