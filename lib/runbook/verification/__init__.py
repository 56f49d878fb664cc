"""Verification: what a restore must show before it is called good."""
