"""What an error of Redis means: an outage, a refusal for now, or one for good; and why, in few words."""

import socket

import redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

#: How answers of a Redis begin that refuses for now, until somebody mends it or it passes, and why it does.
#: Scripts and transactions quote them behind words of their own.
_PASSING = {
    "OOM command not allowed": "it is out of memory: raise its maxmemory, or delete old runs",
    "MISCONF ": "it cannot write its data to disk",
    "BUSY ": "it is busy with somebody's script",
    "READONLY ": "it is a replica",
    "MASTERDOWN ": "it is a replica that has lost its master",
    "NOREPLICAS ": "too few of its replicas are there",
    "CLUSTERDOWN ": "its cluster is down",
    "TRYAGAIN ": "its cluster is moving keys",
}
_KINDS: dict[type[RedisError], str] = {
    OutOfMemoryError: "OOM command not allowed",
    ReadOnlyError: "READONLY ",  # after a failover the old connections lead to what is a replica now
    MasterDownError: "MASTERDOWN ",
    ClusterDownError: "CLUSTERDOWN ",
    TryAgainError: "TRYAGAIN ",
}


def refuses_for_now(error: Exception) -> bool:
    """Whether Redis is there and will serve later, by itself or when somebody has mended it."""
    return isinstance(error, BusyLoadingError) or _passing(error) is not None


def may_pass(error: Exception) -> bool:
    """Whether the same call can be right later: an outage, not a refusal."""
    if isinstance(error, AuthenticationError | AuthorizationError):  # redis-py counts them as outages
        return False
    return not isinstance(error, ResponseError | InvalidResponse) or _passing(error) is not None


def _passing(error: Exception) -> str | None:
    """Why Redis refuses for now; None if it does not, or for good."""
    for kind, code in _KINDS.items():  # of these redis-py leaves the code out
        if isinstance(error, kind):
            return _PASSING[code]
    if not isinstance(error, ResponseError):
        return None
    text = first_line(error)
    return next((why for code, why in _PASSING.items() if code in text), None)


def reason_of(error: Exception) -> str:
    """Why Redis cannot be reached, in few words."""
    if passing := _passing(error):
        return passing
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BusyLoadingError):
            return "it is still loading its data"
        if isinstance(cause, redis.TimeoutError | TimeoutError):
            return "no answer in time"
        if isinstance(cause, socket.gaierror):
            return "this host name is not known"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return first_line(error)


def first_line(error: Exception) -> str:
    """Its text as one line."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
