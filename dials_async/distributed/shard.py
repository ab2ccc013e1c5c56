"""A fixed share of the groups: from a flag, or from how many learners there are and which one this is."""

import os
import re
import socket
from dataclasses import dataclass

from dials_async.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """A fixed share: the groups g with g modulo ``count`` = ``index``."""

    index: int
    count: int

    def has(self, group: int) -> bool:
        """Whether ``group`` is in it."""
        return group % self.count == self.index


def this_shard(text: str | None) -> Shard | None:
    """From ``INDEX/COUNT``, or from $DIALS_LEARNERS and the number in a name of this process.

    None if neither is given: then learners share the groups among themselves. Raises UsageError.
    """
    if text is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not int(match[1]) < int(match[2]):
            raise UsageError(f"--shard {text}: expected INDEX/COUNT, INDEX below COUNT, such as 0/2")
        return Shard(int(match[1]), int(match[2]))
    count = os.environ.get("DIALS_LEARNERS")
    if not count:
        return None
    if not count.isdecimal() or int(count) < 1:
        raise UsageError(f"DIALS_LEARNERS = {count}: expected how many learners there are")
    honcho = re.fullmatch(r".*\.(\d+)", os.environ.get("HONCHO_PROCESS_NAME", ""))
    pod = re.fullmatch(r".*-(\d+)", socket.gethostname())
    index = int(honcho[1]) - 1 if honcho else int(pod[1]) if pod else None
    if index is None or index >= int(count):
        raise UsageError(
            f"DIALS_LEARNERS = {count}, but neither honcho's name of this process nor the host name tells "
            f"which of them this is: give --shard INDEX/{count}"
        )
    return Shard(index, int(count))
