"""Params files: what a target is, where its parts are, and what is expected of it."""

from runbook.params.loading import load_params, parse_params
from runbook.params.schema import Params

__all__ = ["Params", "load_params", "parse_params"]
