"""Escalation: who is called, who is on duty now, whether they can be reached, and the call itself."""
