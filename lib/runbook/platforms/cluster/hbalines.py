"""pg_hba.conf as rules, and the same rules narrowed to one role from one place. Text and files only; no server.

Source: PostgreSQL 17, hba.c (tokenising, inclusion) and "The pg_hba.conf File". The first rule that fits decides, so rules are
narrowed in place and in order: what let the role in still does, and what refused it still does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
# fmt: off
_METHODS = frozenset(
    [
        "trust", "reject", "md5", "password", "scram-sha-256", "gss", "sspi", "ident", "peer", "pam", "bsd", "ldap", "cert",
        "radius", "oauth",
    ]
)
# fmt: on
_PLAIN = re.compile(r"^[A-Za-z0-9_.:/+*=@-]+$")
_DEEPEST = 10


@dataclass(frozen=True)
class Token:
    """One word. A quoted one is no keyword."""

    text: str
    is_quoted: bool = False

    def render(self) -> str:
        """As a file has it."""
        if _PLAIN.match(self.text) and not self.is_quoted:
            return self.text
        return '"' + self.text.replace('"', '""') + '"'


Field = tuple[Token, ...]


@dataclass(frozen=True)
class Rule:
    """One rule. `address` holds the mask too when it stands apart; `rest` is the method and its options."""

    file: Path
    line: int
    type: str
    databases: Field
    users: Field
    address: Field
    rest: Field

    @property
    def method(self) -> str:
        return self.rest[0].text


@dataclass
class HbaRules:
    """All rules in the order in which they count, inclusions expanded, and what is wrong with the others."""

    rules: list[Rule] = field(default_factory=list)
    wrong: list[tuple[Path, int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """How somebody comes in: `host` None is a local socket; `address` as the server sees it, None when that is not known;
    `groups` the roles that `role` is a member of, None when not known; `ssl` None when not known."""

    role: str
    is_local: bool
    address: str | None = None
    ssl: bool | None = None
    groups: frozenset[str] | None = None


def split_line(text: str) -> list[Field]:
    """The fields of one line; a field is a list of words with commas between them.

    >>> [[token.text for token in field] for field in split_line('host "my db",x +ops , all 10.0.0.0/8 md5 # why')]
    [['host'], ['my db', 'x'], ['+ops', 'all'], ['10.0.0.0/8'], ['md5']]
    """
    fields: list[Field] = []
    words: list[Token] = []
    position, goes_on = 0, False
    while True:
        while position < len(text) and (text[position].isspace() or text[position] == ","):
            goes_on = goes_on or text[position] == ","
            position += 1
        if position >= len(text) or text[position] == "#":
            break
        if words and not goes_on:
            fields.append(tuple(words))
            words = []
        token, position, goes_on = _next_token(text, position)
        words.append(token)
    if words:
        fields.append(tuple(words))
    return fields


def _next_token(text: str, position: int) -> tuple[Token, int, bool]:
    quoted_at_start = text[position] == '"'
    held: list[str] = []
    in_quotes = was_quote = False
    while position < len(text):
        letter = text[position]
        if not in_quotes and (letter.isspace() or letter in ",#"):
            break
        if letter == '"':
            if was_quote and not in_quotes:
                held.append('"')
            in_quotes = not in_quotes
            was_quote = not in_quotes
        else:
            was_quote = False
            held.append(letter)
        position += 1
    comma = position < len(text) and text[position] == ","
    return Token("".join(held), quoted_at_start), position + comma, comma


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a backslash at a line's end joins the next one."""
    number, first, held = 0, 1, ""
    for line in text.split("\n"):
        number += 1
        line = line.rstrip("\r")
        if line.endswith("\\"):
            held += line[:-1]
            continue
        yield first, held + line
        held, first = "", number + 1
    if held:
        yield first, held


def read_rules(path: Path) -> HbaRules:
    """The rules of the file and of all it includes.

    Raises:
        OSError: the file itself cannot be read.
    """
    found = HbaRules()
    _read_file(path, found, 0)
    return found


def _read_file(path: Path, found: HbaRules, depth: int) -> None:
    for number, line in _logical_lines(path.read_text("utf-8", "surrogateescape")):
        try:
            fields = split_line(line)
            if not fields:
                continue
            kind = fields[0][0]
            if kind.text.startswith("include") and not kind.is_quoted:
                _include(path, kind.text, fields, found, depth)
            else:
                found.rules.append(_rule(path, number, [_expanded(path, words, 0) for words in fields]))
        except (OSError, ValueError) as problem:
            found.wrong.append((path, number, str(problem)))


def _include(path: Path, kind: str, fields: list[Field], found: HbaRules, depth: int) -> None:
    if depth >= _DEEPEST:
        raise ValueError("inclusions are nested too deep")
    if len(fields) != 2 or kind not in ("include", "include_if_exists", "include_dir"):
        raise ValueError(f"'{kind}' is no inclusion of one file")
    wanted = path.parent / fields[1][0].text
    if kind == "include_dir":
        for part in sorted(wanted.iterdir()):
            if part.name.endswith(".conf") and not part.name.startswith("."):
                _read_file(part, found, depth + 1)
    elif kind == "include" or wanted.exists():
        _read_file(wanted, found, depth + 1)


def _expanded(path: Path, words: Field, depth: int) -> Field:
    """The words with every @file replaced by the words in it."""
    found: list[Token] = []
    for word in words:
        if word.is_quoted or len(word.text) < 2 or not word.text.startswith("@"):
            found.append(word)
            continue
        if depth >= _DEEPEST:
            raise ValueError("files of names are nested too deep")
        wanted = path.parent / word.text[1:]
        for _, line in _logical_lines(wanted.read_text("utf-8", "surrogateescape")):
            for inner in split_line(line):
                found += _expanded(wanted, inner, depth + 1)
    return tuple(found)


def _rule(path: Path, number: int, fields: list[Field]) -> Rule:
    kind = fields[0][0].text
    if kind not in _TYPES:
        raise ValueError(f"'{kind}' is no type of connection")
    needed = 4 if kind == "local" else 5
    if len(fields) < needed:
        raise ValueError("the line ends too early")
    rest = fields[3:] if kind == "local" else fields[4:]
    address: Field = () if kind == "local" else fields[3]
    if kind != "local" and _is_address(address[0].text) and "/" not in address[0].text:
        if len(fields) < needed + 1:
            raise ValueError("an address without a mask")
        address, rest = (*address, *fields[4]), fields[5:]
    if rest[0][0].text not in _METHODS:
        raise ValueError(f"'{rest[0][0].text}' is no way to authenticate")
    return Rule(path, number, kind, fields[1], fields[2], address, tuple(word for words in rest for word in words))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.split("/")[0].split("%")[0])
    except ValueError:
        return False
    return True


def fits_user(users: Field, way: Way) -> bool | None:
    """Whether the rule is about the role; None when that cannot be told from here."""
    unknown = False
    for word in users:
        if word.text == way.role or (word.text == "all" and not word.is_quoted):
            return True
        if word.text.startswith("+") and not word.is_quoted:
            if word.text[1:] == way.role or (way.groups is not None and word.text[1:] in way.groups):
                return True
            unknown = unknown or way.groups is None
        elif word.text.startswith("/") and len(word.text) > 1:
            try:
                if re.search(word.text[1:], way.role):
                    return True
            except re.error:
                unknown = True
    return None if unknown else False


def _fits_type(rule: Rule, way: Way) -> bool:
    if way.is_local or rule.type == "local":
        return way.is_local and rule.type == "local"
    if rule.type == "hostssl":
        return way.ssl is not False
    if rule.type == "hostnossl":
        return way.ssl is not True
    return True


def only_us(way: Way) -> str:
    """Return the one address from which we come.

    >>> only_us(Way("postgres", is_local=False, address="10.1.2.3"))
    '10.1.2.3/32'
    """
    own = ipaddress.ip_address((way.address or "").split("%")[0])
    return f"{own}/{own.max_prefixlen}"


def _narrowed_address(rule: Rule, way: Way) -> Field | None:
    """The rule's address cut down to where we come from; None when it is about others."""
    if rule.type == "local" or way.address is None:
        return rule.address
    own = ipaddress.ip_address(way.address.split("%")[0])
    us = (Token(only_us(way)),)
    first = rule.address[0]
    if first.text == "all" and not first.is_quoted:
        return us
    if not _is_address(first.text):
        return rule.address  # a host name, samehost, samenet: the server resolves it
    text = first.text if len(rule.address) == 1 else f"{first.text}/{rule.address[1].text}"
    network = ipaddress.ip_network(text, strict=False)
    return us if own.version == network.version and own in network else None


#: Everybody else, from everywhere, to everything. `all` does not stand for replication.
REFUSALS = (
    "local all all reject",
    "local replication all reject",
    "host all all all reject",
    "host replication all all reject",
)


@dataclass(frozen=True)
class Narrowed:
    """`lines` let the one role in and no other; `left_out` says which rules could not be judged, and why."""

    lines: tuple[str, ...]
    left_out: tuple[str, ...]
    lets_in: bool


def narrow(found: HbaRules, way: Way, wrong: Collection[tuple[str, int]] = ()) -> Narrowed:
    """The rules for that role coming that way, in their order and for that role alone. Pure.

    Args:
        wrong: files and lines that the server refuses; they are left out.
    """
    lines: list[str] = []
    left_out = [f"{file}:{line}: {why}" for file, line, why in found.wrong]
    lets_in = False
    for rule in found.rules:
        where = f"{rule.file}:{rule.line}"
        if (str(rule.file), rule.line) in wrong:
            left_out.append(f"{where}: the server refuses this line")
            continue
        fits = fits_user(rule.users, way)
        if fits is False or not _fits_type(rule, way):
            continue
        if fits is None:
            left_out.append(f"{where}: whether '{_render(rule.users)}' holds {way.role} cannot be told")
            continue
        try:
            address = _narrowed_address(rule, way)
        except ValueError as problem:
            left_out.append(f"{where}: {problem}")
            continue
        if address is None:
            continue
        parts = [rule.type, _render(rule.databases), Token(way.role, is_quoted=True).render()]
        parts += [word.render() for word in (*address, *rule.rest)]
        lines.append(" ".join(parts))
        is_replication = [word.text for word in rule.databases] == ["replication"]
        lets_in = lets_in or (rule.method != "reject" and not is_replication)
    return Narrowed(tuple(lines), tuple(left_out), lets_in)


def _render(words: Field) -> str:
    return ",".join(word.render() for word in words)
