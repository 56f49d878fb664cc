"""Gates: a plan, signed decisions over its hash, and the rules that say which of them count."""

from runbook.gates.plan import Action, Plan

__all__ = ["Action", "Plan"]
