"""DIALS: train large networks of agents on distributed influence-augmented local simulators."""

from dials_async._environment import configure as _configure

_configure()

__version__ = "0.1.0"
