"""PostgreSQL's configuration files as text: what a line sets, what a file includes, and postgresql.auto.conf with settings held in it."""

from __future__ import annotations

import re
from collections.abc import Mapping

AUTO = "postgresql.auto.conf"
HELD = "held back by a recovery until it is accepted"
#: What only a recovery has, and a production that was recovered must not.
_RECOVERY = re.compile(
    r"^(recovery_\w+|restore_command|primary_conninfo|primary_slot_name|archive_cleanup_command|promote_trigger_file)$"
)
_LINE = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*=?\s*(.*?)\s*$")
#: `include 'file'` in both kinds of file, and `@file` where pg_hba.conf names databases or roles.
_INCLUDE = re.compile(r"""^\s*(include|include_if_exists|include_dir)\b\s*=?\s*(?:'([^']*)'|"([^"]*)"|([^\s'"#]+))""")
_LIST = re.compile(r'(?:^|[\s,])@(?:"([^"]+)"|([^\s,"]+))')


def value_of(line: str) -> str:
    """The value of a line of a configuration file, without its quotes.

    >>> value_of("synchronous_standby_names = 'ANY 1 (a, b)'"), value_of("port=1 # x"), value_of("work_mem '4''MB'")
    ('ANY 1 (a, b)', '1', "4'MB")
    """
    match = re.match(r"\s*[\w.]+\s*=?\s*(?:'((?:[^'\\]|''|\\.)*)'|([^\s#]*))", line)
    if match is None:
        return ""
    return match[2] if match[1] is None else match[1].replace("''", "'")


def setting_of(line: str) -> str | None:
    """The setting that a line of a configuration file is about; None for comments.

    >>> setting_of("work_mem = '4MB'"), setting_of("# x = 1"), setting_of("cron.use_background_workers on")
    ('work_mem', None, 'cron.use_background_workers')
    """
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    match = _LINE.match(text)
    return match[1].lower() if match else None


def hold(text: str, held: Mapping[str, str], why: str = HELD) -> str:
    """postgresql.auto.conf with those settings in place of its own, and without what only a recovery has.

    >>> print(hold("work_mem = '4MB'\\nrestore_command = 'cp'\\narchive_command = 'x'\\n", {"archive_command": ""}), end="")
    work_mem = '4MB'
    # held back by a recovery until it is accepted
    archive_command = ''
    """
    head = f"# {why}"
    kept = [
        line
        for line in text.splitlines()
        if line != head and (name := setting_of(line) or "") not in held and not _RECOVERY.match(name)
    ]
    lines = [*kept, head, *(f"{name} = '{value}'" for name, value in held.items())]
    return "\n".join(lines) + "\n"


def included(text: str) -> list[str]:
    """The relative paths that a configuration file includes: they stand beside it, and belong to it.

    >>> included("include_dir 'conf.d'\\ninclude = extra.conf # more\\ninclude '/etc/x.conf'\\nport = 5432\\n")
    ['conf.d', 'extra.conf']
    >>> included("local @dbs,app  @\\"my roles\\" trust\\n# include 'no'\\ninclude more_hba.conf\\n")
    ['dbs', 'my roles', 'more_hba.conf']
    """
    found = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        match = _INCLUDE.match(line)
        if match is not None:
            found.append(match[2] or match[3] or match[4] or "")
        elif setting_of(line) is None or "=" not in line:
            found += [quoted or plain for quoted, plain in _LIST.findall(line.partition("#")[0])]
    return [name for name in found if name and not name.startswith("/")]


def mentioned(text: str) -> set[str]:
    """Every word of a configuration file that may be a path: certificates, scripts, files of access rules.

    >>> sorted(mentioned("hba_file = 'my_hba' # no\\narchive_command = 'sh /data/x.sh %p'\\ninclude '/data/my conf'\\n"))
    ['%p', '/data/my', '/data/my conf', '/data/x.sh', 'archive_command', 'conf', 'hba_file', 'include', 'my_hba', 'sh', 'sh /data/x.sh %p']
    """
    found: set[str] = set()
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line)
        found |= set(re.findall(r"'([^']+)'", line)) | set(re.findall(r'"([^"]+)"', line))
        found |= set(re.findall(r"""[^\s'"=,;|&()<>]+""", line))
    return found
