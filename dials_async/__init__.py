"""DIALS: train large networks of agents on distributed influence-augmented local simulators."""

from dials_async._blas import configure as _configure_blas

_configure_blas()

__version__ = "0.1.0"
