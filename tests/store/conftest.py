"""The stores that the contract tests run against. A new implementation joins FACTORIES."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from dials_async.store.base import KeepRules, Store
from dials_async.store.memory import MemoryStore

MakeStore = Callable[..., Store]


@contextmanager
def memory() -> Iterator[MakeStore]:
    """Each call of what is yielded makes a new, empty store with these KeepRules; all end together."""
    with ExitStack():
        yield lambda rules=None: MemoryStore(rules or KeepRules())


FACTORIES = [memory]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    with request.param() as make:
        yield make


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()
