"""The brokers that the contract tests run against. A new implementation joins FACTORIES."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from dials_async.messaging.broker import Broker
from dials_async.messaging.memory import MemoryBroker

from .helpers import declared


@contextmanager
def memory() -> Iterator[Broker]:
    with closing(MemoryBroker()) as broker:
        yield broker


FACTORIES: list[Callable[[], AbstractContextManager[Broker]]] = [memory]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with request.param() as broker:
        yield broker


@pytest.fixture
def queue(broker: Broker) -> str:
    return declared(broker)
