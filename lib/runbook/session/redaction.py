"""No message leaves the kernel with a secret in it.

Everything a kernel sends (streams, displays, widgets, tracebacks, replies) is packed by its session; wrapping that
one function covers them all. A secret split over two messages is caught when the notebook is saved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from runbook.redact import scrubber


def scrubbing_pack(pack: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A pack function whose messages hold no registered secret."""

    def pack_scrubbed(content: Any) -> bytes:
        return pack(scrubber.value(content))

    pack_scrubbed.scrubs = True  # type: ignore[attr-defined]  # the mark that keeps a second call from wrapping twice
    return pack_scrubbed


def guard_kernel() -> bool:
    """The kernel we run in scrubs all it sends from now on. False outside a kernel. Safe twice."""
    kernelapp = sys.modules.get("ipykernel.kernelapp")
    if kernelapp is None or not kernelapp.IPKernelApp.initialized():
        return False
    session = kernelapp.IPKernelApp.instance().session
    if not getattr(session.pack, "scrubs", False):
        session.pack = scrubbing_pack(session.pack)
    return True
