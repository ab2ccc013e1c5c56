"""The folder that keeps what is made once per machine: compiled kernels, road networks, baselines.

``$DIALS_CACHE_DIR``, else ``$XDG_CACHE_HOME/dials-async``, else ``~/.cache/dials-async``; for a user without
a home ``dials-async-UID`` in the folder for temporary files.
"""

import os
import tempfile
from pathlib import Path

#: Names the folder.
CACHE_VARIABLE = "DIALS_CACHE_DIR"

#: Entry points of the packages that ship a domain, whose source can reach a kernel.
DOMAINS = "dials_async.domains"


def cache_folder() -> Path:
    """The folder; not made by this function."""
    if base := os.environ.get(CACHE_VARIABLE):
        return Path(base)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "dials-async"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # no $HOME, and nobody knows this user: as in many containers
        return Path(tempfile.gettempdir()) / f"dials-async-{os.getuid()}"
    return Path(home) / ".cache" / "dials-async"
