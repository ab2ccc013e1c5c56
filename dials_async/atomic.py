"""Files that are written whole or not at all: nobody reads half, and a full disk leaves the old one."""

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(
    path: Path, content: str | bytes, *, durable: bool = False, shared: bool = False
) -> None:
    """Replace ``path`` by ``content``. Raises OSError; what was there is then as it was.

    ``durable``: it outlives a power cut. ``shared``: other processes may write it at the same moment.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp" if shared else f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                # Without it a power cut after the rename can leave a file of the right name, all zeros.
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            temporary.unlink()  # half a file on a full disk makes it no emptier
        raise


def _sync_folder(folder: Path) -> None:
    """Make the rename itself outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
