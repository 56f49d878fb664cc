"""The outputs of one execution, as a notebook keeps them: so many of them, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook import clock
from runbook.texts import LONGEST, cut

#: The most that is kept of one execution's outputs, in characters.
MOST = 2 << 20
#: What a cell's outputs end with when they were cut.
CUT_NOTE = f"\n… This cell has written more than {clock.human_bytes(MOST)}: what follows is neither shown nor kept.\n"
#: Messages that are outputs.
_KINDS = frozenset({"stream", "display_data", "execute_result", "error", "update_display_data", "clear_output"})


def plain_text(text: str) -> str:
    """The first line of a text."""
    lines = text.strip().split("\n")
    return lines[0]


def size_of(content: Mapping[str, Any]) -> int:
    """How many characters a message's content shows.

    >>> size_of({"name": "stdout", "text": "abc"}), size_of({"data": {"text/plain": "abcd"}, "metadata": {}})
    (3, 4)
    """
    data = content.get("data")
    shown = data.values() if isinstance(data, Mapping) else [content.get("text", "")]
    return sum(len(one) if isinstance(one, str) else len(repr(one)) for one in shown)


def _shorten_error(content: dict[str, Any]) -> None:
    """An error is always shown, its words up to a length."""
    content["evalue"] = cut(str(content.get("evalue")), LONGEST)
    content["traceback"] = [cut(str(one), 4 * LONGEST) for one in content.get("traceback") or ()][:100]


class CellOutputs:
    """What one execution has put out so far.

    Args:
        most: the characters that are kept.

    Attributes:
        is_cut: more was put out than is kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self.is_cut = False
        self._most = most
        self._kept: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._size = 0
        self._clear = False

    def take(self, kind: str, content: dict[str, Any]) -> bool:
        """Keep the message when it is output; what is too long in it is cut. False: it is beyond what is kept."""
        if kind not in _KINDS:
            return True
        if kind == "clear_output":
            self._clear = True
            if not content.get("wait"):
                self._do_clear()
            return True
        self._do_clear()
        if kind == "error":
            _shorten_error(content)
        elif not self._fits(kind, content):
            self.is_cut = True
            return False
        self._size += size_of(content)
        self._keep(kind, content)
        return True

    def _fits(self, kind: str, content: dict[str, Any]) -> bool:
        """True when there is room for the output; a text of which only a part fits is cut."""
        room = self._most - self._size
        if self.is_cut or room <= 0:
            return False
        if kind == "stream" and len(content["text"]) > room:
            content["text"] = content["text"][:room]
            self.is_cut = True
            return True
        return size_of(content) <= room

    def note(self, content: Mapping[str, Any]) -> None:
        """Keep this piece of a stream, whatever was kept before."""
        self._keep("stream", content)

    def _do_clear(self) -> None:
        if self._clear:
            self._kept, self._texts, self._size, self._clear, self.is_cut = [], [], 0, False, False

    def _keep(self, kind: str, content: Mapping[str, Any]) -> None:
        last = self._kept[-1] if self._kept else None
        if kind == "stream":
            if last is None or last["output_type"] != "stream" or last["name"] != content["name"]:
                self._close_stream()
                self._kept.append({"output_type": "stream", "name": content["name"], "text": ""})
            self._texts.append(str(content["text"]))
            return
        self._close_stream()
        if kind == "error":
            one = {name: content.get(name) for name in ("ename", "evalue", "traceback")}
        else:
            one = {"data": dict(content.get("data") or {}), "metadata": dict(content.get("metadata") or {})}
        if kind == "execute_result":
            one["execution_count"] = content.get("execution_count")
        shown = (content.get("transient") or {}).get("display_id")
        if kind == "update_display_data":
            for before in self._kept:
                if before.get("display") == shown:
                    before.update(one)
            return
        self._kept.append({"output_type": kind, **one, **({"display": shown} if shown else {})})

    def _close_stream(self) -> None:
        if self._texts:
            self._kept[-1]["text"] = "".join(self._texts)
            self._texts = []

    def listed(self) -> list[dict[str, Any]]:
        """The outputs as nbformat has them."""
        self._close_stream()
        return [{name: value for name, value in one.items() if name != "display"} for one in self._kept]
