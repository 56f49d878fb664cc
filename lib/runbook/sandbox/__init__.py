"""An embedded production to practise on: a real cluster, its data, its traffic, its backups, and how to break it."""
