"""Wiring: the embedded default, where every part of a run is an object on a thread of one process."""
