"""Controls: what was due, what was done, what was missed, and what was excepted, counted from records that verify."""
