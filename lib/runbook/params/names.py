"""Names of people and roles as they are meant, however they are spelt."""

from __future__ import annotations

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
