"""Rows of pg_class and its like as WAL holds them: which relation got which file, by whose transaction, and what it was called.

An UPDATE's record may leave out what the new row has in common with the old one, so the rows of catalog pages are kept as WAL leaves them:
from page images, from rows that are inserted, and from the base backup's files where a page has no image since (full_page_writes = off).
Source: PostgreSQL 15 to 18, heapam_xlog.h, heapam_xlog.c (heap_xlog_insert, heap_xlog_update, heap_xlog_inplace), relmapper.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from runbook.errors import CommandFailed, CommandTimedOut
from runbook.postgres.tools import Tools
from runbook.postgres.wal import parse_lsn
from runbook.postgres.waldump import save_pages
from runbook.postgres.walrecord import RecordFile, RecordParts, WalBlock, take_apart
from runbook.recovery.catalogrows import (
    NAMING,
    PG_CLASS,
    PG_INHERITS,
    TUPLE_HEADER,
    Version,
    class_row,
    inherits_row,
    named_row,
    page_position,
    page_versions,
    read_map,
    version_of,
)
from runbook.recovery.transactions import CatalogRow, CatalogStep, ClassRow, RelFile
from runbook.recovery.walnames import WalNames

#: Returns a page of a relation as a base backup has it.
Seed = Callable[[RelFile, int], bytes | None]

_RELMAP, _HEAP = 7, 10
_INSERT, _DELETE, _UPDATE, _HOT_UPDATE, _INPLACE = 0x00, 0x10, 0x20, 0x40, 0x70
_INIT_PAGE, _OPERATION = 0x80, 0x70
_PREFIX, _SUFFIX = 0x20, 0x40
_XL_INSERT, _XL_DELETE, _XL_UPDATE = struct.Struct("=HB"), struct.Struct("=IHBB"), struct.Struct("=IHBBIH")
_LSN = re.compile(rb"lsn: ([0-9A-F]+/[0-9A-F]+), ")
_MAPPED = b"rmgr: RelMap"
_NUMBERS = frozenset(f"{number}".encode() for number in NAMING)
#: t_infomask2, t_infomask and t_hoff, as records carry them; what stands before them in a row is not needed.
_ROW_HEADER, _BEFORE = 5, b"\0" * 18
#: Where relfilenode stands in a row of pg_class: after oid, name and five other oids.
_FILE = 4 + 64 + 5 * 4

Page = tuple[RelFile, int]


class WalCatalog:
    """Reads the records of catalogs that a pass over WAL comes to. `names` is what was learned by committed transactions and page images.

    Args:
        files: the files of the catalogs, where they are others than those that they are born with.
        seed: gives a page as the base backup has it; None: there is none.
    """

    def __init__(self, tools: Tools, files: Mapping[RelFile, int] | None = None, seed: Seed | None = None) -> None:
        self._tools, self._seed = tools, seed
        self._files = dict(files or {})
        self._pages: dict[Page, dict[int, Version]] = {}
        self._seen: set[tuple[int, bytes]] = set()
        self._place: tuple[Path, int] | None = None
        self._records: RecordFile | None = None
        self.names = WalNames()
        #: Files that turned out to be a catalog's after records of theirs had gone by: the pass must be made again with them.
        self.late: dict[RelFile, int] = {}

    def open(self, folder: Path, timeline: int) -> None:
        """The next blocks of lines are of this folder's segments."""
        self.close()
        self._place, self._records = (folder, timeline), RecordFile(folder, timeline)

    def close(self) -> None:
        """No segment is open. Safe twice."""
        if self._records is not None:
            self._records.close()

    def steps(self, block: bytes) -> Iterator[tuple[int, CatalogStep]]:
        """Yield what the block's records did to rows of catalogs, each with its transaction, in the order of WAL."""
        if self._records is None:
            return
        for start in sorted(self._lines(block)):
            match = _LSN.search(block, start)
            if match is None:
                continue
            lsn = parse_lsn(match[1].decode())
            record = self._records.read(lsn)
            try:
                parts = take_apart(record, self._tools.major) if record is not None else None
            except ValueError:
                parts = None
            if parts is None:
                self.names.unread += 1
                # Which page the record changed is not known either: from here on the base backup's pages may be too old.
                self._pages.clear()
                self._seed = None
                continue
            for step in self._redo(parts, lsn):
                yield parts.xid, step

    def _lines(self, block: bytes) -> set[int]:
        """Where lines begin whose records are of a catalog's main fork, or of the map of catalogs."""
        letters = np.frombuffer(block, np.uint8)
        # "/1259 blk": looked for at all places at once, which costs less than a search for each number.
        places = np.flatnonzero((letters[:-6] == 47) & (letters[5:-1] == 32) & (letters[6:] == 98)).tolist()
        found = {block.rfind(b"\n", 0, at) + 1 for at in places if block[at + 1 : at + 5] in _NUMBERS}
        for word in (*(f"/{file.number} blk ".encode() for file in self._files), _MAPPED):
            at = block.find(word)
            while at >= 0:
                found.add(block.rfind(b"\n", 0, at) + 1)
                at = block.find(word, at + len(word))
        return found

    def _catalog_of(self, file: RelFile) -> int | None:
        known = self._files.get(file)
        return known if known is not None or file.number not in NAMING else file.number

    def _register(self, catalog: int, file: RelFile) -> None:
        if catalog in NAMING and file.number != catalog and file not in self._files:
            self._files[file] = self.late[file] = catalog

    # -- a record ------------------------------------------------------------------------------------------

    def _redo(self, parts: RecordParts, lsn: int) -> Iterator[CatalogStep]:
        if parts.rmgr == _RELMAP:
            self._take_map(parts.data)
            return
        for mark, block in parts.blocks.items():
            catalog = self._catalog_of(RelFile(*block.file))
            if catalog is None or block.fork or not (block.image or block.is_packed):
                continue
            page = block.image or self._saved(lsn, block)
            if page is None:
                self.names.unread += 1
                self._pages[RelFile(*block.file), block.number] = {}  # not as the base backup has it either
                continue
            parts.blocks[mark] = block._replace(image=page)
            versions = dict(page_versions(page))
            self._pages[RelFile(*block.file), block.number] = versions
            # The living first: what is heard first of a relation stands until a transaction says otherwise.
            for version in sorted(versions.values(), key=lambda one: not one.is_live):
                if not version.is_dead and self._is_new(catalog, block.file[1], version):
                    row = self._row(catalog, RelFile(*block.file), version)
                    self.names.see(catalog, block.file[1], row, is_live=version.is_live)
        first = parts.blocks.get(0)
        if parts.rmgr == _HEAP and first is not None and not first.fork:
            catalog = self._catalog_of(RelFile(*first.file))
            if catalog is not None:
                yield from self._change(parts, first, catalog, lsn)

    def _is_new(self, catalog: int, database: int, version: Version) -> bool:
        """False for a relation with a file that an image has shown before: pages of large catalogs come by after every checkpoint."""
        if catalog != PG_CLASS:
            return True
        begin = version.content[22]
        oid, file = version.content[begin : begin + 4], version.content[begin + _FILE : begin + _FILE + 4]
        before = len(self._seen)
        self._seen.add((database, oid + file))
        return len(self._seen) > before

    def _change(self, parts: RecordParts, block: WalBlock, catalog: int, lsn: int) -> Iterator[CatalogStep]:
        file, operation = RelFile(*block.file), parts.info & _OPERATION
        page = self._page((file, block.number), lsn)
        if parts.info & _INIT_PAGE and block.image is None:
            page.clear()
        if operation == _INSERT:
            line, _ = _XL_INSERT.unpack_from(parts.data)
            if block.image is None:
                page.pop(line, None)
                if not block.is_packed:
                    page[line] = version_of(_BEFORE + block.data)
            yield self._step("i", catalog, file, lsn, None, page.get(line))
        elif operation == _DELETE:
            _, line, _, _ = _XL_DELETE.unpack_from(parts.data)
            yield self._step("d", catalog, file, lsn, page.get(line), None)
        elif operation in (_UPDATE, _HOT_UPDATE):
            _, old_line, _, flags, _, line = _XL_UPDATE.unpack_from(parts.data)
            other = parts.blocks.get(1)
            old_page = page if other is None else self._page((RelFile(*other.file), other.number), lsn)
            old = old_page.get(old_line)
            if block.image is None:
                page.pop(line, None)
                new = None if block.is_packed else _rebuilt(block.data, flags, old)
                if new is not None:
                    page[line] = new
            yield self._step("u", catalog, file, lsn, old, page.get(line))
        elif operation == _INPLACE and block.image is None:
            line = int.from_bytes(parts.data[:2], "little")
            old = page.pop(line, None)
            if old is not None and not block.is_packed:
                page[line] = version_of(old.content[: old.content[22]] + block.data)

    def _step(
        self, kind: str, catalog: int, file: RelFile, lsn: int, old: Version | None, new: Version | None
    ) -> CatalogStep:
        step = CatalogStep(
            lsn, catalog, file.database, kind, self._row(catalog, file, old), self._row(catalog, file, new)
        )
        if isinstance(step.new, ClassRow) and step.new.file is not None and step.new.oid in NAMING:
            self._register(step.new.oid, step.new.file)
        if (old is None and kind != "i") or (new is None and kind != "d"):
            self.names.unread += 1
        return step

    def _row(self, catalog: int, file: RelFile, version: Version | None) -> CatalogRow | None:
        if version is None:
            return None
        if catalog == PG_CLASS:
            return class_row(version.row, self._tools.major, file.tablespace, file.database)
        if catalog == PG_INHERITS:
            return inherits_row(version.row)
        return named_row(version.row)

    # -- pages ---------------------------------------------------------------------------------------------

    def _page(self, key: Page, lsn: int) -> dict[int, Version]:
        found = self._pages.get(key)
        if found is None:
            content = self._seed(*key) if self._seed is not None else None
            is_older = content is not None and page_position(content) <= lsn
            found = self._pages[key] = dict(page_versions(content)) if content is not None and is_older else {}
        return found

    def _saved(self, lsn: int, block: WalBlock) -> bytes | None:
        """The image as pg_waldump unpacks it (16 and later)."""
        if self._place is None or self._tools.major < 16:
            return None
        try:
            return save_pages(self._tools, *self._place, lsn).get((block.file, block.number))
        except (CommandFailed, CommandTimedOut):
            return None  # counted as unread

    def _take_map(self, data: bytes) -> None:
        database, tablespace, size = struct.unpack_from("=IIi", data)
        for catalog, number in read_map(data[12 : 12 + size]).items():
            file = RelFile(tablespace, database, number)
            self.names.map_file(file, catalog)
            self._register(catalog, file)


def _rebuilt(data: bytes, flags: int, old: Version | None) -> Version | None:
    """The new row of an UPDATE; None where it needs an old one that is not known."""
    at, prefix, suffix = 0, 0, 0
    if flags & _PREFIX:
        prefix, at = int.from_bytes(data[at : at + 2], "little"), at + 2
    if flags & _SUFFIX:
        suffix, at = int.from_bytes(data[at : at + 2], "little"), at + 2
    header, rest = data[at : at + _ROW_HEADER], data[at + _ROW_HEADER :]
    if not (prefix or suffix):
        return version_of(_BEFORE + header + rest)
    if old is None:
        return None
    head = header[4] - TUPLE_HEADER if prefix else 0
    content, begin = old.content, old.content[22]
    row = rest[:head] + content[begin : begin + prefix] + rest[head:] + (content[-suffix:] if suffix else b"")
    return version_of(_BEFORE + header + row)
