"""The pages an auditor reads first: what is overdue, what failed, what is green, and the way to each record."""
