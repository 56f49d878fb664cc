"""Who is at work: the kernel says; what only the environment says is a claim."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from runbook.params.names import plain_name
from runbook.texts import visible_line

#: What the kernel says when nobody has logged in: in a container, at boot.
_NO_LOGIN = 4294967295
#: What a shell, sudo and their like say of whoever uses them. Anybody can set them.
_CLAIMS = ("SUDO_USER", "DOAS_USER", "LOGNAME", "USER", "LNAME", "USERNAME")
_CLAIMED_UIDS = ("SUDO_UID", "PKEXEC_UID")


#: The namespace of user ids that the kernel starts with (PROC_USER_INIT_INO). In any other one whoever made it chose the ids.
_FIRST_NAMESPACE = "user:[4026531837]"


@dataclass(frozen=True)
class Operator:
    """Who is at work.

    `user` is who the kernel says: the user who logged in, else the one whose session started this process, else the process's own;
    `known_by` says which. `names` are all of these, and what the environment claims beyond: a claim can take a right, and gives none.
    `claimed` are the claims that the kernel does not bear out, such as SUDO_USER=other.
    """

    user: str
    known_by: str
    names: tuple[str, ...]
    claimed: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """For a journal's event."""
        return {
            "operator": self.user,
            "operator_known_by": self.known_by,
            "operator_names": list(self.names),
            "operator_claimed": list(self.claimed),
        }


def who(
    real: int,
    login: int | None,
    ancestors: Sequence[int],
    environment: Mapping[str, str],
    name_of: Callable[[int], str],
) -> Operator:
    """Who is at work, by what the kernel says of this process and what its environment claims.

    Args:
        real: the real user id of this process.
        login: the login uid (/proc/self/loginuid); None when nobody has logged in.
        ancestors: real user ids of the processes above it, the nearest first.

    >>> names = {0: "root", 1000: "olaf", 1001: "ann"}
    >>> who(0, None, [1000, 0], {"SUDO_USER": "ann"}, names.__getitem__)
    Operator(user='olaf', known_by='the process that started the session', names=('olaf', 'root', 'ann'), claimed=('SUDO_USER=ann',))
    >>> who(1000, None, [0], {"LOGNAME": "ann"}, names.__getitem__).user
    'olaf'
    """
    above = [one for one in dict.fromkeys(ancestors) if one not in (0, real)]
    if login not in (None, 0):
        first, known_by = login, "login uid"
    elif above:
        first, known_by = above[0], "the process that started the session"
    else:
        first, known_by = real, "user of the process"
    proven = [
        name_of(one)
        for one in dict.fromkeys([first, real, *([login] if login is not None else []), *above])
        if one is not None
    ]
    claims = {name: visible_line(environment[name]) for name in _CLAIMS if environment.get(name)}
    for name in _CLAIMED_UIDS:
        if environment.get(name):
            claims[name] = (
                name_of(int(environment[name])) if environment[name].isdecimal() else visible_line(environment[name])
            )
    known = {plain_name(one) for one in proven}
    unproven = {name: value for name, value in claims.items() if plain_name(value) not in known}
    names = tuple(dict.fromkeys([*proven, *unproven.values()]))
    return Operator(proven[0], known_by, names, tuple(f"{name}={value}" for name, value in unproven.items()))


def at_work() -> Operator:
    """Who is at work in this process.

    In a namespace of user ids other than the kernel's first one, every user is a claim: anybody can be root in one of their own.
    """
    said = {name: value for name in (*_CLAIMS, *_CLAIMED_UIDS) if (value := os.environ.get(name))}
    found = who(os.getuid(), login_uid(), _ancestors(), said, user_name)
    if _namespace() == _FIRST_NAMESPACE:
        return found
    real, outside = os.getuid(), _outside(os.getuid())
    user = user_name(outside) if outside is not None else f"uid-{real}"
    names = tuple(dict.fromkeys([user, *found.names]))
    claim = f"user namespace: uid {real} here is {outside if outside is not None else 'not known'} outside"
    return Operator(user, "user of the process, claimed in a user namespace", names, (claim, *found.claimed))


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/user").readlink())
    except FileNotFoundError:
        return _FIRST_NAMESPACE  # a kernel without them


def _outside(uid: int) -> int | None:
    """What a user id of this namespace is in the one around it."""
    for line in Path("/proc/self/uid_map").read_text("utf-8").splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= uid < inside + count:
            return outside + uid - inside
    return None


def login_uid() -> int | None:
    """The user id that has logged in, which no later su or sudo changes; None when nobody has, or the kernel does not say."""
    path = Path("/proc/self/loginuid")
    try:
        said = int(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return None if said == _NO_LOGIN else said


def _ancestors() -> list[int]:
    found = []
    for process in psutil.Process().parents():
        try:
            found.append(process.uids().real)
        except psutil.Error:
            break  # it has ended since; what is above it is not ours any more
    return found


def user_name(uid: int) -> str:
    """The name of a user; `uid-N` when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid-{uid}"
