"""Names of people and roles as they are meant, however they are spelt."""

from __future__ import annotations

import re
import unicodedata


def plain_name(name: str) -> str:
    """The name without what people spell in different ways: case, accents, width, spaces and punctuation.

    >>> plain_name("Ada  Lovelace") == plain_name("ada.lovelace") == plain_name("ADA_LOVELACE")
    True
    >>> plain_name("José") == plain_name("jose"), plain_name("ann") == plain_name("anna")
    (True, False)
    """
    spread = unicodedata.normalize("NFKD", name).casefold()
    return "".join(char for char in spread if char.isalnum() or char == "@")


def reads_like(one: str, other: str) -> bool:
    """True when both may well mean the same person, the words in whatever order.

    >>> reads_like("Lovelace, Ada", "ada lovelace"), reads_like("Ada Lovelace", "AdaLovelace"), reads_like("Ada", "Ada Lovelace")
    (True, True, False)
    """
    return plain_name(one) == plain_name(other) or _words(one) == _words(other)


def _words(name: str) -> list[str]:
    return sorted(filter(None, (plain_name(word) for word in re.split(r"[^\w@]|_", name))))
