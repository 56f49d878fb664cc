"""Pages of relations as PostgreSQL writes them, for tests that damage a file and keep its checksums right."""

from __future__ import annotations

from shop import PAGE


def resealed(page: bytes, number: int) -> bytes:
    """The page with the checksum that it would have at another place of its file."""
    body = bytearray(page)
    body[8:10] = bytes(2)
    sums = list(BASE)
    words = [int.from_bytes(body[at : at + 4], "little") for at in range(0, PAGE, 4)]
    for row in range(len(words) // 32):
        for column in range(32):
            sums[column] = _mix(sums[column], words[row * 32 + column])
    for _ in range(2):
        sums = [_mix(value, 0) for value in sums]
    total = 0
    for value in sums:
        total ^= value
    body[8:10] = ((total ^ number) % 65535 + 1).to_bytes(2, "little")
    return bytes(body)


def _mix(total: int, value: int) -> int:
    mixed = total ^ value
    return ((mixed * 16777619) & 0xFFFFFFFF) ^ (mixed >> 17)


#: Source: PostgreSQL 17, storage/checksum_impl.h.
BASE = (
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16,
    0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2,
    0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
)  # fmt: skip
