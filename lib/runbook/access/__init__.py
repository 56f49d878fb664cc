"""The quarterly access audit: who may do what, what is too much, and what nobody has approved."""
