"""Names of people and roles as they are meant, however they are spelt."""

from __future__ import annotations

import re
import unicodedata

#: Letters of other scripts, and variants, that look like a Latin letter. NFKD takes care of accents, width and styled letters.
_LOOK_ALIKE = str.maketrans(
    "авеёзіїјкмнорстухѕһԁԛԝѵӏгпαβεζηικνορστυχωγıłøđħŧɑɡɩʋ",
    "abee3iijkmhopctyxshdqwvlrnabeznikvopotuxwyilodhtagiv",
)


def plain_name(name: str) -> str:
    """The one form in which names of people and roles are compared, without what people spell in different ways.

    Left out are case, accents, width, spaces, punctuation (so also a dot at the end), letters that look alike, and what follows a + in
    a mail address: the same mailbox is the same person's. The form is for comparing only: names that share it count as one
    person's, which refuses a right and never gives one.

    >>> plain_name("Ada  Lovelace") == plain_name("ada.lovelace") == plain_name("ADA_LOVELACE")
    True
    >>> plain_name("José") == plain_name("jose"), plain_name("ann") == plain_name("anna")
    (True, False)
    >>> {plain_name(one) for one in ("ann@x.example", "ANN@X.EXAMPLE.", "ann+ops@x.example", "аnn@x.example", "ａnn@x.example")}
    {'ann@xexample'}
    """
    if name.count("@") == 1:
        local, _, domain = name.partition("@")
        name = f"{local.partition('+')[0] or local}@{_domain(domain)}"
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold()).translate(_LOOK_ALIKE)
    return "".join(char for char in spread if char.isalnum() or char == "@")


def _domain(domain: str) -> str:
    """An internationalised domain in letters."""
    if "xn--" not in domain.casefold():
        return domain
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain  # no such name can exist; it is compared as it is spelt


def is_same_person(one: str, other: str) -> bool:
    """True when two names are one person's: in the form that is compared, or a user's name and a mail address of that user.

    >>> is_same_person("olaf", "Olaf@example.org"), is_same_person("olaf@example.org", "olaf@example.com")
    (True, False)
    """
    first, second = plain_name(one), plain_name(other)
    if not first or not second:
        return False
    if ("@" in first) != ("@" in second):
        return first.partition("@")[0] == second.partition("@")[0]
    return first == second


def reads_like(one: str, other: str) -> bool:
    """True when both may well mean the same person, the words in whatever order.

    >>> reads_like("Lovelace, Ada", "ada lovelace"), reads_like("Ada Lovelace", "AdaLovelace"), reads_like("Ada", "Ada Lovelace")
    (True, True, False)
    """
    return plain_name(one) == plain_name(other) or _words(one) == _words(other)


def _words(name: str) -> list[str]:
    return sorted(filter(None, (plain_name(word) for word in re.split(r"[^\w@]|_", name))))
