"""The parts of ``benchmarks/faults.py``: what is done to a run, when, and what must have come of it."""
