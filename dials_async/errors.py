"""Every error a user can meet: one tree, one clear line each, with the exit code of the command.

DialsError
├── UsageError            the request cannot be carried out as asked (exit 2)
│   ├── ConfigError       unknown preset or key, value out of range
│   ├── RunExistsError    the run's name is taken
│   ├── RunNotFoundError  no such run
│   ├── RefusedError      a server is there and refuses: user, password, vhost, database, schema
│   ├── NumericsError     this process computes otherwise than the run that it wants to join
│   └── CheckpointError   a checkpoint is missing, corrupt, or of another run
├── BadMessageError       a message failed its checks: goes to the dead letters, never kills a consumer
├── UnreachableError      a server does not answer: it may be down, or still starting
│   ├── BrokerUnreachableError  (a BrokerError too)
│   └── StoreUnreachableError   (a StoreError too)
├── BrokerError           the broker refused or is gone
│   └── QueueFullError    a bounded queue refused a message
├── StoreError            the store refused or is gone
│   ├── VersionConflictError  compare-and-set lost: somebody else committed this version
│   └── VersionGoneError      a version that was asked for is not kept any more
├── SimulatorError        a simulator is missing, of another version, or ended (exit 1)
├── ServerError           a private server (RabbitMQ, ...) is missing or does not start
├── InterruptedRunError   a second Ctrl-C ended a run at once (exit 130)
└── TrainingError         training cannot go on (a thread died, numbers are not finite)
    └── DomainError       what a domain returned is wrong, or its code failed
"""

import re

#: Characters of the text of an error that are shown; some of Numba's fill pages.
_MOST_TEXT = 300

#: How Numba names the place in the source that it cannot compile.
_NUMBA_PLACE = re.compile(r'File "([^"]+)", line (\d+)')


def in_one_line(error: BaseException) -> str:
    """Type and text of an error that is not one of ours; where it is long, with the place that it names."""
    text = " ".join(str(error).split())
    if len(text) > _MOST_TEXT:
        places = _NUMBA_PLACE.findall(text)
        text = text[:_MOST_TEXT] + " ..." + (f" ({':'.join(places[-1])})" if places else "")
    return f"{type(error).__name__}: {text}"


class DialsError(Exception):
    """Base of all errors that are reported to the user as one line, without a traceback."""

    exit_code = 1


class UsageError(DialsError):
    """The request cannot be carried out as asked; nothing was changed."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration is wrong: the message names the key and what would be right."""


class RunExistsError(UsageError):
    """A run of this name exists already."""


class RunNotFoundError(UsageError):
    """There is no run of this name."""


class RefusedError(UsageError):
    """A server answers and refuses: trying again does not help."""


class NumericsError(UsageError):
    """A process computes otherwise than the run that it wants to take part in."""


class CheckpointError(UsageError):
    """A checkpoint is missing, corrupt, or belongs to another configuration."""


class BadMessageError(DialsError):
    """A message failed its checks (schema, types, shapes, sizes, finite numbers)."""


class BrokerError(DialsError):
    """The message broker refused a request or cannot be reached."""


class UnreachableError(DialsError):
    """A server does not answer: it is down, still starting, or the address is wrong."""


class BrokerUnreachableError(BrokerError, UnreachableError):
    """The message broker does not answer."""


class QueueFullError(BrokerError):
    """A bounded queue is full and refused the message."""


class StoreError(DialsError):
    """The store refused a request or cannot be reached."""


class StoreUnreachableError(StoreError, UnreachableError):
    """The store does not answer."""


class VersionConflictError(StoreError):
    """A compare-and-set lost: the version to be replaced is not the newest any more."""


class VersionGoneError(StoreError):
    """A version was asked for that the store does not keep (any more)."""


class SimulatorError(DialsError):
    """A simulator is not installed, is of another version, or ended in the middle of an episode."""


class ServerError(DialsError):
    """A private server is not installed, or does not start."""


class TrainingError(DialsError):
    """Training cannot go on; the message carries the first cause."""


class DomainError(TrainingError):
    """A domain returned what it must not, or its code failed; the message says where."""


class InterruptedRunError(DialsError):
    """A run was ended at once, by a second Ctrl-C; what it had saved is kept."""

    exit_code = 130
