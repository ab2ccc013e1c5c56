"""How a process joins a run: the run's configuration from Redis, its store, its broker, its clock."""

import time
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event

from dials_async.addresses import amqp_url, redis_url
from dials_async.config import Config, config_from_dict
from dials_async.errors import (
    BrokerError,
    ConfigError,
    DialsError,
    RefusedError,
    RunNotFoundError,
    StoreError,
    UnreachableError,
)
from dials_async.messaging.broker import QueueNames
from dials_async.messaging.opening import open_broker
from dials_async.metrics.instruments import Metrics
from dials_async.run_context import RunContext
from dials_async.runtime.wiring import declare_queues, keep_rules, make_context
from dials_async.store.opening import open_registry, open_store
from dials_async.store.redis.runs import CREATING, RunRegistry

#: Seconds between tries while servers or the run are waited for.
RETRY_S = 0.5


@dataclass
class Connection:
    """What ties a process to a run."""

    registry: RunRegistry
    context: RunContext

    def set_clock(self) -> None:
        """Bring this process's clock in line with the run's, which is Redis' and the same for all hosts."""
        self.context.seconds_before = self.registry.elapsed_s(self.context.name)
        self.context.started = time.monotonic()

    def close(self) -> None:
        """Leave; twice is allowed."""
        self.context.close()
        self.registry.close()


def connect(run: str, stop: Event, metrics: Metrics | None = None) -> Connection:
    """Join ``run``, counted by ``metrics``. Once ``stop`` is set, no call waits for servers that are away.

    Raises RunNotFoundError, or a BrokerError or StoreError that says what to mend.
    """
    registry = open_registry(redis_url(), give_up=stop)
    try:
        if registry.status(run).state == CREATING:
            raise RunNotFoundError(f"the run '{run}' is being created: try again in a moment")
        context = open_context(run, read_config(registry, run), stop, metrics)
    except BaseException:
        registry.close()
        raise
    connection = Connection(registry, context)
    connection.set_clock()
    return connection


def open_context(run: str, config: Config, stop: Event, metrics: Metrics | None = None) -> RunContext:
    """The context of ``run`` on RabbitMQ and Redis, its queues declared. Raises BrokerError, StoreError."""
    with ExitStack() as undo:
        store = open_store(redis_url(), run, keep_rules(config), give_up=stop)
        undo.callback(store.close)
        broker = open_broker(amqp_url(), QueueNames(run, store.life), give_up=stop)
        undo.callback(broker.close)
        context = make_context(run, config, broker, store, metrics)
        context.stop = stop
        declare_queues(context)
        undo.pop_all()
    return context


def read_config(registry: RunRegistry, run: str) -> Config:
    """The configuration that ``run`` was created with. Raises RunNotFoundError, ConfigError."""
    try:
        return config_from_dict(tomllib.loads(registry.config(run)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the configuration of the run '{run}' in Redis cannot be read: {error}") from error


def wait_to_connect(
    run: str, stop: Event, wait_s: float, say: Callable[[str], None], metrics: Metrics | None = None
) -> Connection | None:
    """``connect``, but wait up to ``wait_s`` for servers that are not up yet and a run that is not there yet.

    ``say`` is told once for each thing that is waited for. None if ``stop`` was set before.
    """
    deadline = time.monotonic() + wait_s
    said = ""
    while not stop.is_set():
        try:
            return connect(run, stop, metrics)
        except (UnreachableError, RunNotFoundError) as error:
            if time.monotonic() >= deadline:
                raise
            why = in_short(error)
            if why != said:
                said = why
                say(f"waiting: {why}")
        except (BrokerError, StoreError) as error:
            if stop.is_set():
                return None
            raise RefusedError(str(error)) from None
        stop.wait(RETRY_S)
    return None


def in_short(error: DialsError) -> str:
    """What is waited for, without the advice that follows in an error's line."""
    return str(error).partition(";")[0]
