"""A program in Linux namespaces of its own: without a network, and with only those files of the host that it is given.

Run as a script, this file enters the namespaces, gives up root and becomes the program. It needs root or user namespaces that the
host allows to everybody; `refusal` tries whether they work here. The program keeps its process id, its environment and its parent:
there is no pid namespace, since pg_ctl and the run find a server by the process id in its files.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ != "__main__":  # the script itself imports nothing of the product: it runs before rights are given up
    from runbook.errors import CommandFailed, CommandTimedOut
    from runbook.outside import commands
    from runbook.outside.commands import OsUser

#: How the script ends when it could not become the program.
NOT_ENTERED = 122
#: Where programs, their libraries and their data are. What is a link there stays one.
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
#: What programs read of /etc; no service keeps a secret there.
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "passwd", "group", "nsswitch.conf", "localtime", "timezone", "alternatives")  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom")

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE, _RELATIME = 4096, 16384, 1 << 18, 1 << 21
_ST_RELATIME, _ST_KEPT = 4096, _NOSUID | _NODEV | _NOEXEC | 1024 | 2048
_DETACH = 2
#: The numbers of these calls are the same on every machine.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_TREE_CLONE, _TREE_CLOEXEC, _FROM_EMPTY, _EMPTY_PATH, _HERE = 1, 0o2000000, 4, 0x1000, -100
_ATTR_IDMAP, _ATTR_READ_ONLY = 0x00100000, 1 | 2 | 4 | 8
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217, "riscv64": 41}
_NO_NEW_PRIVS = 38


@dataclass(frozen=True)
class Namespaces:
    """What a program sees of the host's files beside the operating system's programs.

    Args:
        programs: folders with further programs, seen read-only.
        hidden: folders that are empty for it though they lie in one that it sees.
        readable: folders and files seen read-only.
        writable: folders and files that it may change, as far as their modes allow; nothing can be executed there.
        lent: files of `lender`, or folders with links to such files, that are seen read-only and as the program's own (idmapped mounts
            of Linux 5.12; only root can make them). Nothing on disk is changed.
    """

    programs: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    lent: tuple[Path, ...] = ()
    lender: OsUser | None = None

    def wrap(self, argv: Sequence[str], user: OsUser | None) -> list[str]:
        """The command that enters the namespaces as root, or as ourselves, and becomes `argv` as `user`."""
        paths = ("programs", "hidden", "readable", "writable", "lent")
        given: dict[str, object] = {name: [str(path.absolute()) for path in getattr(self, name)] for name in paths}
        given |= {"uid": user.uid, "gid": user.gid} if user is not None and os.geteuid() == 0 else {}
        given |= {"lender": [self.lender.uid, self.lender.gid]} if self.lender is not None else {}
        return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), json.dumps(given), *argv]

    def refusal(self, argv: Sequence[str], user: OsUser | None) -> str | None:
        """Why this host does not let the command run in such namespaces, tried with it; None: it does."""
        if sys.platform != "linux":
            return "only Linux has namespaces"
        try:
            commands.run(self.wrap(argv, user), timeout=20)
        except (CommandFailed, CommandTimedOut) as cause:
            return cause.message.split("\n")[0]
        return None


# -- the script ------------------------------------------------------------------------------------------------


def _call(what: str, *given: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, what)(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"{what}({', '.join(str(one) for one in given[:2])})")


def _mount(source: str | Path | None, target: Path, kind: str | None, flags: int, data: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _call("mount", *words, ctypes.c_ulong(flags), data.encode())


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _make_way(root: Path, path: Path) -> Path:
    """Below `root` the path is there as on the host, its links as links; what is bound to its end, as a real path."""
    real, parts = Path("/"), list(path.parts[1:])
    for _ in range(200):
        if not parts:
            return real
        part = parts.pop(0)
        here = real.parent if part == ".." else real / part
        if not here.is_symlink():
            real = here
            if not os.path.lexists(_below(root, real)):
                if real.is_dir():
                    _below(root, real).mkdir(0o755)
                else:
                    _below(root, real).touch(0o644, exist_ok=False)
            continue
        target = here.readlink()
        if not os.path.lexists(_below(root, here)):
            _below(root, here).symlink_to(target)
        if target.is_absolute():
            real = Path("/")
        parts[:0] = [one for one in target.parts if one != "/"]
    raise OSError(f"{path} has too many links")


def _bind(root: Path, path: Path, flags: int) -> None:
    real = _make_way(root, path)
    target = _below(root, real)
    _mount(real, target, None, _BIND | _REC)
    kept = os.statvfs(target).f_flag  # flags that a user namespace may not take away
    flags |= kept & _ST_KEPT | (_RELATIME if kept & _ST_RELATIME else 0)
    _mount(None, target, None, _REMOUNT | _BIND | flags)


def _namespace_of(lender: list[int], uid: int, gid: int) -> int:
    """Return a descriptor of a user namespace that maps the lender to the program's user; its only process ends with us."""
    ready, going = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _call("unshare", ctypes.c_int(_CLONE_NEWUSER))
        os.write(ready[1], b".")
        os.read(going[0], 1)
        os._exit(0)
    os.close(ready[1])
    if not os.read(ready[0], 1):
        raise OSError("no user namespace can be made")
    for name, pair in (("uid_map", (lender[0], uid)), ("gid_map", (lender[1], gid))):
        Path(f"/proc/{child}/{name}").write_text(f"{pair[0]} {pair[1]} 1", "ascii")
    found = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    os.write(going[1], b".")
    os.waitpid(child, 0)
    for end in (ready[0], *going):
        os.close(end)
    return found


def _bind_lent(root: Path, path: Path, owners: int | None) -> None:
    real = _make_way(root, path)
    libc = ctypes.CDLL(None, use_errno=True)
    tree = libc.syscall(ctypes.c_long(_OPEN_TREE), _HERE, os.fsencode(real), ctypes.c_uint(_TREE_CLONE | _TREE_CLOEXEC))
    if tree < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    attributes = struct.pack("=QQQQ", _ATTR_IDMAP | _ATTR_READ_ONLY, 0, 0, owners)
    _call(
        "syscall", ctypes.c_long(_MOUNT_SETATTR), tree, b"", ctypes.c_uint(_EMPTY_PATH), attributes, ctypes.c_size_t(32)
    )
    target = os.fsencode(_below(root, real))
    _call("syscall", ctypes.c_long(_MOVE_MOUNT), tree, b"", _HERE, target, ctypes.c_uint(_FROM_EMPTY))
    os.close(tree)


def _fill(root: Path, given: dict[str, list[str]], owners: int | None) -> None:
    programs, data = _RDONLY | _NOSUID | _NODEV, _NOSUID | _NODEV | _NOEXEC
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for path in map(Path, _PROGRAMS):
        if path.is_symlink():
            _below(root, path).symlink_to(path.readlink())
        elif path.is_dir():
            _bind(root, path, programs)
    for path in [Path("/etc") / name for name in _ETC]:
        if path.exists():
            _bind(root, path, _RDONLY | data)
    for name, options, flags in (
        ("tmp", "mode=1777,size=256m", data),
        ("dev", "mode=0755,size=1m", _NOSUID | _NOEXEC),
        ("dev/shm", "mode=1777", data),
    ):
        (root / name).mkdir()
        _mount("tmpfs", root / name, "tmpfs", flags, options)
    for name in _DEVICES:
        _bind(root, Path("/dev") / name, _NOSUID | _NOEXEC)
    for path in map(Path, given["programs"]):
        _bind(root, path, programs)
    for path in [_below(root, Path(one).resolve()) for one in given["hidden"]]:
        if path.is_dir():
            _mount("tmpfs", path, "tmpfs", _RDONLY | data, "mode=0500,size=4k")
    for path in map(Path, given["readable"]):
        _bind(root, path, _RDONLY | data)
    for path in map(Path, given["lent"] if owners is not None else ()):
        lent = [one.resolve() for one in path.iterdir() if one.is_symlink()] if path.is_dir() else [path]
        for file in lent:
            if not os.path.lexists(_below(root, file)):
                _bind_lent(root, file, owners)
    for path in map(Path, given["writable"]):
        _bind(root, path, data)


def _enter(given: dict[str, Any], uid: int, gid: int) -> None:
    is_root = os.geteuid() == 0
    owners = _namespace_of(given["lender"], uid, gid) if is_root and given["lent"] else None
    flags = _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    _call("unshare", ctypes.c_int(flags if is_root else flags | _CLONE_NEWUSER))
    if not is_root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text, "utf-8")
    _mount(None, Path("/"), None, _REC | _PRIVATE)
    root = Path("/proc")  # is there on every Linux, holds nothing of what is bound, and is not to be seen inside
    _fill(root, given, owners)
    os.chdir(root)
    _call("syscall", ctypes.c_long(_PIVOT_ROOT[os.uname().machine]), b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")
    _mount(None, Path("/"), None, _REMOUNT | _RDONLY | _NOSUID | _NODEV | _BIND)
    if is_root:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    _call("prctl", _NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def main(given: str, *argv: str) -> None:
    """Enter the namespaces, give up root, and become the program."""
    spec = json.loads(given)
    umask = os.umask(0o022)
    try:
        _enter(spec, spec.get("uid", os.geteuid()), spec.get("gid", os.getegid()))
        os.umask(umask)
        # The loader learns $ORIGIN from /proc, which is not here: the libraries that a wheel keeps beside its package are named.
        libraries = ":".join(path for path in spec["programs"] if path.endswith(".libs"))
        if libraries:
            os.environ["LD_LIBRARY_PATH"] = libraries
        os.execv(argv[0], argv)  # noqa: S606 - this is what the script is for
    except (OSError, KeyError) as cause:
        where = f" ({cause.filename})" if isinstance(cause, OSError) and cause.filename else ""
        sys.stderr.write(f"not isolated: {getattr(cause, 'strerror', None) or cause}{where}\n")
        sys.exit(NOT_ENTERED)


if __name__ == "__main__":
    main(*sys.argv[1:])
