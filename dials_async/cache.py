"""The folder that keeps what is made once per machine: compiled kernels, road networks.

``$DIALS_CACHE_DIR``, else ``$XDG_CACHE_HOME/dials-async``, else ``~/.cache/dials-async``.
"""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder; not made by this function."""
    base = os.environ.get("DIALS_CACHE_DIR")
    if base is None:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "dials-async")
    return Path(base)
