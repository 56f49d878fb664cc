-- purpose: the counters of this session's changes are handed over now; after VACUUM they would count its removed rows anew
SELECT pg_stat_force_next_flush();
