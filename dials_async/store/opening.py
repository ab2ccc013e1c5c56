"""The store at a URL, and the runs in it: the scheme says which one. Another one joins STORES."""

import threading
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from dials_async.addresses import REDIS_VARIABLE
from dials_async.errors import ConfigError
from dials_async.store.base import KeepRules, Store
from dials_async.store.redis.runs import RunRegistry
from dials_async.store.redis.store import RedisStore


class OpenStore(Protocol):
    """Connects to the store of a run."""

    def __call__(self, url: str, run: str, rules: KeepRules, *, give_up: threading.Event) -> Store:
        """The store of ``run``; once ``give_up`` is set no call waits for it. Raises StoreError."""
        ...


class OpenRegistry(Protocol):
    """Connects to the registry of runs."""

    def __call__(self, url: str, give_up: threading.Event | None = None) -> RunRegistry:
        """The runs at ``url``; once ``give_up`` is set no call waits for it. Raises StoreError."""
        ...


class Kind(NamedTuple):
    """A kind of store."""

    store: OpenStore
    registry: OpenRegistry


_REDIS = Kind(RedisStore, RunRegistry)
STORES: Mapping[str, Kind] = {"redis": _REDIS, "rediss": _REDIS}


def open_store(url: str, run: str, rules: KeepRules, give_up: threading.Event) -> Store:
    """Connect at once. Raises ConfigError by the scheme, StoreError, without the password, if it fails."""
    return _kind(url).store(url, run, rules, give_up=give_up)


def open_registry(url: str, give_up: threading.Event | None = None) -> RunRegistry:
    """Connect at once. Raises ConfigError by the scheme, StoreError, without the password, if it fails."""
    return _kind(url).registry(url, give_up)


def _kind(url: str) -> Kind:
    scheme = url.partition("://")[0]
    if scheme not in STORES:
        schemes = " or ".join(f"{scheme}://" for scheme in STORES)
        raise ConfigError(f"{REDIS_VARIABLE} is not a URL of the form {schemes}user:password@host:port/...")
    return STORES[scheme]
