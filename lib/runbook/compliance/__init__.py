"""Compliance: what of a target is really kept, against the rules of how long it must be."""
