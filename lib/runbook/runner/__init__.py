"""Executes a notebook: validates, starts the kernel, stamps, redacts, closes the attempt, derives the exit code."""

from __future__ import annotations

import sys

# jsonschema (imported by nbformat, nbclient and papermill) imports rfc3987_syntax, whose grammar takes 1.7 s and more
# to compile, only to check the format "iri", which notebooks do not use. It goes without when the import fails.
# To be removed when rfc3987_syntax compiles its grammar lazily (1.1.0 does not).
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None makes the import fail: documented
