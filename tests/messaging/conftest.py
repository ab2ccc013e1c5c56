"""The brokers that the contract tests run against. A new implementation joins FACTORIES."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from dials_async.messaging.broker import Broker
from dials_async.messaging.memory import MemoryBroker

from .helpers import declared, rabbit_broker


@contextmanager
def memory(_: pytest.FixtureRequest) -> Iterator[Broker]:
    with closing(MemoryBroker()) as broker:
        yield broker


def rabbitmq(request: pytest.FixtureRequest) -> AbstractContextManager[Broker]:
    return rabbit_broker(request.getfixturevalue("rabbitmq_server").url, patience_s=30.0)


# What a factory asks for while it runs marks no test: here the mark is given.
FACTORIES = [memory, pytest.param(rabbitmq, marks=pytest.mark.server)]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with request.param(request) as broker:
        yield broker


@pytest.fixture
def queue(broker: Broker) -> str:
    return declared(broker)
