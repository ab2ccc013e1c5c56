"""Small runs in memory: everything that a worker or a learner is given, without the other parts."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from dials_async.clock import make_clock
from dials_async.config import Config, load_config
from dials_async.domains.registry import make_domain
from dials_async.groups import make_groups
from dials_async.messaging.broker import Consumer, Delivery, QueueNames
from dials_async.messaging.memory import MemoryBroker
from dials_async.messaging.schema import Origin
from dials_async.run_context import RunContext
from dials_async.store.base import AipState, GroupState, KeepRules
from dials_async.store.memory import MemoryStore
from dials_async.store.participants import UNKNOWN

#: What the queues of a run of ``make_context`` are called.
QUEUES = QueueNames("r", "life")

#: Of the messages of such a run, in which nobody has said what they compute.
ORIGIN = Origin("r", "life", "print", UNKNOWN)

LONG_S = 60.0  # never reached by a test that passes

#: 4 agents, 8 episodes an update, 4 updates.
SMALL = (
    "domain.item_ages=false",  # presets may change; these tests must not
    "policy.network=mlp",
    "aip.network=gru",
    "run.steps=3200",
    "rollout.episodes_per_task=4",
    "rollout.tasks_per_update=2",
    "rollout.agents_per_group=4",
    "policy.hidden_sizes=[16, 12]",
    "aip.hidden_size=10",
    "aip.gs_steps=1000",
    "aip.epochs=2",
    "schedule.eval_episodes=2",
    "schedule.final_eval_episodes=4",
)


def small_config(*settings: str) -> Config:
    """The smallest run that does everything; later settings win."""
    return load_config("warehouse-4", [*SMALL, *settings])


def make_context(
    *settings: str,
    store: MemoryStore | None = None,
    rules: KeepRules | None = None,
    queue_length: int = 1000,
    broker: MemoryBroker | None = None,
    single_consumer: bool = False,
) -> RunContext:
    """A run named "r" with declared queues, and nothing committed yet."""
    # Nobody evaluates here, and learners wait for an evaluator that is far behind.
    config = small_config("schedule.eval_steps=1000000", *settings)
    domain = make_domain(config.domain)
    store = store or MemoryStore(rules)
    store.life = QUEUES.life
    broker = broker or MemoryBroker()
    broker.declare(QUEUES.rollout_tasks, 1000)
    broker.declare(QUEUES.gs_tasks, 1000)
    for agent in range(domain.n_agents):
        broker.declare(QUEUES.experience(agent), queue_length, single_consumer=single_consumer)
    return RunContext(
        name="r",
        config=config,
        domain=domain,
        groups=make_groups(config, domain),
        clock=make_clock(config, domain),
        broker=broker,
        store=store,
        configuration="print",
    )


def random_weights(shape: tuple[int, ...], seed: int, scale: float = 0.4) -> np.ndarray:
    """Far from uniform actions and influence, unlike initial parameters."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def commit_policies(context: RunContext, version: int) -> list[np.ndarray]:
    """Commit random weights as ``version`` of every group; returns them."""
    all_weights = []
    for group in context.groups:
        weights = random_weights(group.initial_weights(context.seed).shape, 100 * version + group.index)
        zeros = np.zeros_like(weights)
        arrays = {"weights": weights, "adam_m": zeros, "adam_v": zeros}
        steps = context.clock.steps(version)
        context.store.commit_group(GroupState(group.index, version, steps, arrays, {"adam_steps": 0}))
        all_weights.append(weights)
    return all_weights


def commit_aips(context: RunContext, version: int) -> list[np.ndarray]:
    """Commit random AIPs as ``version``; returns them by group."""
    aips = [
        random_weights(group.initial_aips(context.seed).shape, 1000 + 100 * version + group.index)
        for group in context.groups
    ]
    arrays = {f"g{group.index}": array for group, array in zip(context.groups, aips, strict=True)}
    context.store.commit_aip(AipState(version, 0, arrays))
    return aips


def eventually(condition: Callable[[], bool], thread: threading.Thread | None = None) -> bool:
    """Whether it comes true before ``thread`` ends, or before a test should be given up."""
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline and (thread is None or thread.is_alive()):
        time.sleep(0.005)
    return condition()


def receive(consumer: Consumer, thread: threading.Thread) -> Delivery:
    """The next message; fails if ``thread``, which should publish it, ends before."""
    deadline = time.monotonic() + LONG_S
    while thread.is_alive() and time.monotonic() < deadline:
        if (delivery := consumer.receive(0.05)) is not None:
            return delivery
    raise AssertionError("nothing was published")


@contextmanager
def running(context: RunContext, run: Callable[[], None]) -> Iterator[threading.Thread]:
    """``run`` on a thread of its own, told to stop at the end of the block.

    Its error is raised here, in place of what the block may have made of it.
    """
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        context.stop.set()
        thread.join(LONG_S)
        assert not thread.is_alive()
        if errors:
            raise errors[0]
