"""A stopped cluster with a backup, a fence and marked moments in its WAL; each test gets a copy to damage."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from own_cluster import OwnCluster, segments
from runbook.postgres.wal import segment_name

PAGE = 8192
SEGMENT = 16 << 20
MARKS = 4
ITEMS = 20_000


@dataclass(frozen=True)
class Mark:
    """One committed row of table mark. `before` and `after` are positions and moments on either side of its commit."""

    number: int
    before: str
    after: str
    before_at: datetime
    after_at: datetime


@dataclass(frozen=True)
class Shop:
    """`files` are paths below a backup, by relation name."""

    cluster: OwnCluster
    files: dict[str, str]
    marks: tuple[Mark, ...]
    began_at: datetime

    def copy(self, home: Path) -> Shop:
        return Shop(self.cluster.copy(home), self.files, self.marks, self.began_at)

    @property
    def backup(self) -> Path:
        return self.cluster.backups / "first"

    def file(self, relation: str) -> Path:
        return self.backup / self.files[relation]

    def mark(self, number: int) -> Mark:
        return self.marks[number - 1]

    def segment_of(self, mark: Mark) -> Path:
        """The archived segment that holds a mark's commit."""
        high, _, low = mark.before.partition("/")
        return self.cluster.archive / segment_name(1, (int(high, 16) << 32) + int(low, 16), SEGMENT)

    @property
    def segments(self) -> list[Path]:
        return segments(self.cluster)


def add_mark(cluster: OwnCluster, number: int) -> Mark:
    """A committed row with a moment of quiet on either side."""
    before, before_at = cluster.lsn(), cluster.now()
    time.sleep(0.01)
    cluster.sql(f"INSERT INTO mark VALUES ({number})", database="shop")
    time.sleep(0.01)
    return Mark(number, before, cluster.lsn(), before_at, cluster.now())


def go_on(cluster: OwnCluster) -> None:
    """What happens after a backup: a fence, and two more marks with their WAL."""
    cluster.fence()
    for number in (1, 2):
        add_mark(cluster, number)
        cluster.switch()


def fill(cluster: OwnCluster) -> None:
    """Database shop: item is written to after the backup, quiet never is, mark tells how far a recovery came."""
    cluster.sql("CREATE EXTENSION amcheck")
    cluster.create_database(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL)",
        f"INSERT INTO item SELECT g, md5(g::text) FROM generate_series(1, {ITEMS}) AS g",
        "CREATE INDEX item_name ON item (name)",
        "CREATE TABLE quiet (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)",
        f"INSERT INTO quiet (name) SELECT md5(g::text) FROM generate_series(1, {ITEMS}) AS g",
        "CREATE TABLE mark (number int)",
        "VACUUM ANALYZE",
    )


def relation_files(cluster: OwnCluster) -> dict[str, str]:
    names = ("item", "item_pkey", "item_name", "quiet", "quiet_pkey")
    return {name: str(cluster.sql(f"SELECT pg_relation_filepath('{name}')", database="shop")[0][0]) for name in names}


def flip(path: Path, offset: int, bit: int = 3) -> None:
    """One bit of a file is the other way round."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def read_page(path: Path, number: int) -> bytes:
    with path.open("rb") as file:
        file.seek(number * PAGE)
        return file.read(PAGE)


def write_page(path: Path, number: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(number * PAGE)
        file.write(content)


def used_bytes(path: Path) -> int:
    """How much of a segment is written: the rest is zeros."""
    return len(path.read_bytes().rstrip(b"\0"))


def forget_manifest(backup: Path) -> None:
    """The manifest is made again over what is there now, as if it had been so when the backup was taken."""
    manifest = backup / "backup_manifest"
    body = json.loads(manifest.read_text())
    files = []
    for item in body["Files"]:
        path = backup / item["Path"]
        if path.is_file():
            content = path.read_bytes()
            item |= {"Size": len(content), "Checksum-Algorithm": "SHA256"}
            item["Checksum"] = hashlib.sha256(content).hexdigest()
            files.append(item)
    lines = [json.dumps(item) for item in files]
    head = [f'"PostgreSQL-Backup-Manifest-Version": {body["PostgreSQL-Backup-Manifest-Version"]},']
    if "System-Identifier" in body:
        head.append(f'"System-Identifier": {body["System-Identifier"]},')
    text = "{ " + "\n".join(head) + '\n"Files": [\n' + ",\n".join(lines) + '\n],\n"WAL-Ranges": [\n'
    text += ",\n".join(
        json.dumps({key: item[key] for key in ("Timeline", "Start-LSN", "End-LSN")}) for item in body["WAL-Ranges"]
    )
    text += "\n],\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    manifest.write_text(text + f'"Manifest-Checksum": "{digest}"}}\n')
