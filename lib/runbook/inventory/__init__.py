"""What is there and who may do what: one inventory of a server, and one way of comparing it with what was approved."""
