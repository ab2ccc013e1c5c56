"""The broker at a URL: the scheme says which one. Another one joins BROKERS."""

import threading
from collections.abc import Mapping
from typing import Protocol

from dials_async.addresses import AMQP_VARIABLE
from dials_async.errors import ConfigError
from dials_async.messaging.broker import Broker, QueueNames
from dials_async.messaging.rabbitmq.broker import RabbitBroker


class OpenBroker(Protocol):
    """Connects to a broker."""

    def __call__(self, url: str, names: QueueNames, *, give_up: threading.Event) -> Broker:
        """The broker at ``url``; once ``give_up`` is set no call waits for it. Raises BrokerError."""
        ...


BROKERS: Mapping[str, OpenBroker] = {"amqp": RabbitBroker, "amqps": RabbitBroker}


def open_broker(url: str, names: QueueNames, give_up: threading.Event) -> Broker:
    """Connect at once. Raises ConfigError by the scheme, BrokerError, without the password, if it fails."""
    scheme = url.partition("://")[0]
    if scheme not in BROKERS:
        schemes = " or ".join(f"{scheme}://" for scheme in BROKERS)
        raise ConfigError(f"{AMQP_VARIABLE} is not a URL of the form {schemes}user:password@host:port/...")
    return BROKERS[scheme](url, names, give_up=give_up)
