"""One process at a time in a folder: a lock of the system's that goes with the process, however it ends."""

import errno
import fcntl
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

#: What file systems without locks answer, network ones mostly.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def lock(folder: Path, wait: bool = False) -> int:
    """Take ``folder`` for this process; returns a descriptor, which holds the lock until it is closed.

    Where the file system has no locks it says so in a line and goes on: nobody is kept out. Raises
    BlockingIOError if another process has it and this one does not ``wait``.
    """
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, how)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # NFS locks only what is open for writing, which a folder cannot be.
            file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            os.close(handle)
            handle = file
            fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            logger.warning(
                "%s is on a file system without locks (%s): see to it that no other process uses it",
                folder,
                error.strerror,
            )
            return handle
        os.close(handle)
        raise
    return handle
