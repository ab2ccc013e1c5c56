"""The store of a distributed run, and the registry of runs, in Redis."""
