-- purpose: a unique index whose build fails and leaves it invalid
CREATE UNIQUE INDEX CONCURRENTLY half_built ON practice.swollen (kind);
