"""Personal data in loss files: kept, hashed, masked or left out, column by column, as params say or as its name suggests. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

from runbook.errors import ParamsError
from runbook.params.loading import nearest

Treatment = Literal["keep", "hash", "mask", "drop"]
TREATMENTS: tuple[Treatment, ...] = ("keep", "hash", "mask", "drop")

#: Words in a column's name that speak of a person. Free text and documents may hold more: params must name those columns.
# fmt: off
PERSONAL = frozenset(
    [
        "address", "addr", "birth", "birthday", "birthdate", "bic", "card", "cookie", "cvv", "dob", "driver",
        "email", "fax", "firstname", "forename", "fullname", "gender", "iban", "ip", "ipaddress", "lastname",
        "lat", "latitude", "licence", "license", "login", "lon", "longitude", "maiden", "mail", "mobile",
        "name", "nationality", "nickname", "passport", "passwd", "password", "phone", "pin", "postcode", "pwd",
        "religion", "salary", "secret", "sex", "signature", "ssn", "street", "surname", "tax", "telephone",
        "token", "user", "username", "zip", "zipcode",
    ]
)
# fmt: on
_SECRET = frozenset(["password", "passwd", "pwd", "secret", "token", "cookie", "cvv", "pin", "signature"])
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words_of(column: str) -> set[str]:
    """A column's name in lower-case words, and each two neighbours joined.

    >>> sorted(words_of("userEmail")), sorted(words_of("ip_address"))
    (['email', 'user', 'useremail'], ['address', 'ip', 'ipaddress'])
    """
    words = [word.lower() for word in _WORDS.findall(column)]
    return {*words, *(first + second for first, second in pairwise(words))}


def looks_personal(column: str) -> bool:
    """True when the name speaks of a person; a number that stands for one (user_id) is no name.

    >>> [looks_personal(name) for name in ("email", "full_name", "description", "vin", "user_id", "ip")]
    [True, True, False, False, False, True]
    """
    words = words_of(column)
    return not words & {"id"} and bool(words & PERSONAL)


class Minimiser:
    """Treats values by column. Hashes are keyed with a key that is kept nowhere: equal values stay equal within one run, and no
    table of guesses reverses them.

    Args:
        rules: "table.column", "schema.table.column" or "*.column" → keep, hash, mask or drop.

    Raises:
        ParamsError: a rule is none of these.
    """

    def __init__(self, rules: Mapping[str, str] | None = None) -> None:
        self._rules: dict[str, Treatment] = {}
        for place, treatment in (rules or {}).items():
            if treatment not in TREATMENTS:
                raise ParamsError(
                    f"'{treatment}' for {place} is no treatment of personal data; {nearest(treatment, TREATMENTS)}",
                    next="Write keep, hash, mask or drop.",
                )
            if "." not in place:
                raise ParamsError(
                    f"'{place}' names no column of a table.", next=f"Write table.{place}, or *.{place} for every table."
                )
            self._rules[place] = treatment
        self._key = secrets.token_bytes(32)
        self.used: set[str] = set()

    def treatment(self, schema: str, table: str, column: str) -> Treatment:
        """What happens to the column's values."""
        for place in (f"{schema}.{table}.{column}", f"{table}.{column}", f"*.{column}"):
            if place in self._rules:
                self.used.add(place)
                return self._rules[place]
        return "mask" if looks_personal(column) else "keep"

    @property
    def unused(self) -> list[str]:
        """Rules that met no column so far: misspelt ones are among them."""
        return sorted(set(self._rules) - self.used)

    def treat(self, value: str | None, treatment: Treatment, column: str) -> str | None:
        """The value as it may be written; NULL stays NULL."""
        if value is None or treatment == "keep":
            return value
        if treatment == "hash":
            return (
                "hmac:" + hmac.new(self._key, value.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:32]
            )
        if treatment == "mask":
            return "***" if words_of(column) & _SECRET or len(value) < 4 else value[0] + "***"
        raise ValueError(f"a dropped column ({column}) is not written")
