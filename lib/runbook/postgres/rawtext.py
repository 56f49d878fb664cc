"""Text as a server stores it: each byte is kept, whatever the encoding says, and can be sent back as it was.

A database of SQL_ASCII holds any bytes, and its names stand in the shared catalogs that every database reads. The server does not convert
what is asked for in the encoding of its own database; bytes that are no text in that encoding become half characters here (PEP 383), which
`texts.visible` shows as ``\\xe4``. Source: PostgreSQL 17, "Character Set Support"; psycopg 3, "Adapting basic Python types".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import ConnStatus, PGconn, PollingStatus
from psycopg.types import string
from psycopg.waiting import Wait

#: Server encodings for which Python has a codec by another name than PostgreSQL's.
_CODECS = {
    "UTF8": "utf-8",
    "SQL_ASCII": "utf-8",
    **{f"LATIN{number}": f"iso8859-{part}" for number, part in zip(range(1, 11), (1, 2, 3, 4, 9, 10, 13, 14, 15, 16), strict=True)},
    **{f"ISO_8859_{part}": f"iso8859-{part}" for part in (5, 6, 7, 8)},
    **{f"WIN{page}": f"cp{page}" for page in (866, 874, *range(1250, 1259))},
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "EUC_CN": "gb2312",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
}  # fmt: skip
#: psycopg converts a connection string to UTF-8 without exceptions: half characters travel through it as these, of the last private plane.
_TO_PRIVATE = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
_FROM_PRIVATE = {private: half for half, private in _TO_PRIVATE.items()}


def server_encoding(pgconn: Any) -> str:
    """Return the encoding of the connection's database, as the server reports it."""
    return (pgconn.parameter_status(b"server_encoding") or b"UTF8").decode("ascii")


def client_encoding(pgconn: Any) -> str | None:
    """Return the client encoding in which the server sends text as it is stored; None: the one that every session asks for, UTF8.

    Of an encoding for which Python has no codec (EUC_TW, MULE_INTERNAL) the server makes UTF-8.
    """
    encoding = server_encoding(pgconn)
    return encoding if encoding != "UTF8" and encoding in _CODECS else None


def copy_options(pgconn: Any) -> str:
    """Return what makes COPY print UTF-8, or the stored bytes of a database that does not say what they mean."""
    return "" if server_encoding(pgconn) in ("UTF8", "SQL_ASCII") else " (ENCODING 'UTF8')"


def decode(pgconn: Any, data: Buffer) -> str:
    """Return text of the connection's database; `encode` gives the bytes back."""
    return str(data, _codec(pgconn), "surrogateescape")


def encode(pgconn: Any, text: str) -> bytes:
    return text.encode(_codec(pgconn), "surrogateescape")


def shared(pgconn: Any, name: str) -> str:
    """Return a name from the shared catalogs (a database, a role) as every other connection reads it.

    Its bytes have the encoding of the database in which it was made, which nobody knows: they are read as UTF-8 wherever they are read.
    """
    return encode(pgconn, name).decode("utf-8", "surrogateescape")


def _codec(pgconn: Any) -> str:
    return _CODECS.get(server_encoding(pgconn), "utf-8")


class _Text(Loader):
    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._codec = _codec(self.connection.pgconn) if self.connection is not None else "utf-8"

    def load(self, data: Buffer) -> str:
        return str(data, self._codec, "surrogateescape")


def _dumper(base: type[Any]) -> type[Any]:
    class Dumper(base):  # type: ignore[misc]  # one of psycopg's own for str
        def dump(self, obj: str) -> bytes:
            if "\x00" in obj:
                raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00) bytes")
            return obj.encode(self._encoding, "surrogateescape")

    return Dumper


def _adapters() -> AdaptersMap:
    made = AdaptersMap(psycopg.adapters)
    for base in (string.StrBinaryDumperName, string.StrBinaryDumperVarchar, string.StrBinaryDumper, string.StrDumperName,
                 string.StrDumperVarchar, string.StrDumper, string.StrDumperUnknown):  # the last one registered is the default  # fmt: skip
        made.register_dumper(str, _dumper(base))
    for oid in (0, "bpchar", "name", "text", "varchar", '"char"'):
        made.register_loader(oid, _Text)
    return made


#: What every connection of ours reads and writes text with.
ADAPTERS = _adapters()


def named_rows(cursor: Any) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Make rows dictionaries, as psycopg's dict_row does; a column may have any name."""
    result = cursor.pgresult
    names = [decode(cursor.connection.pgconn, result.fname(at) or b"") for at in range(result.nfields if result else 0)]
    return lambda values: dict(zip(names, values, strict=True))


def column_count(cursor: Any) -> int:
    """Return the number of columns that the last statement returned; 0 where it returned no rows."""
    result = cursor.pgresult
    return result.nfields if result is not None and result.status == psycopg.pq.ExecStatus.TUPLES_OK else 0


def in_private(value: str) -> str:
    """Return a name for what takes well-formed Unicode only: the driver's connection strings, PostgreSQL's grammar."""
    return value.translate(_TO_PRIVATE)


def from_private(value: str) -> str:
    """Return what `in_private` was given."""
    return value.translate(_FROM_PRIVATE)


def connecting(conninfo: str) -> Generator[Any, Any, Any] | None:
    """Open a connection whose string holds such names, as the driver's own generator does; None where it holds none.

    Raises:
        psycopg.OperationalError: the connection fails.
    """
    plain = from_private(conninfo)
    return None if plain == conninfo else _connect(plain.encode("utf-8", "surrogateescape"))


def _connect(conninfo: bytes) -> Generator[Any, Any, Any]:
    pgconn = PGconn.connect_start(conninfo)
    while True:
        status = PollingStatus.FAILED if pgconn.status == ConnStatus.BAD else pgconn.connect_poll()
        if status == PollingStatus.OK:
            pgconn.nonblocking = 1
            return pgconn
        if status == PollingStatus.FAILED:
            said = pgconn.error_message.decode("utf-8", "backslashreplace").strip()
            raise psycopg.OperationalError(f"connection failed: {said}")
        while not (yield pgconn.socket, Wait.R if status == PollingStatus.READING else Wait.W):
            continue
