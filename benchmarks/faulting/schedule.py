"""Which faults, in which order, of whom, for how long: all of it drawn from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

#: Kinds of faults, and how often each is in a round.
KINDS = {
    "kill": 7,
    "freeze": 5,
    "link cut": 5,
    "Redis OOM": 2,
    "Redis MISCONF": 2,
    "disk full": 2,
    "stale worker": 2,
    "other run": 2,
    "other arithmetic": 1,
    "torn cache": 2,
}

PROCESSES = (
    *("rollout.1", "rollout.2", "rollout.3", "learner.1", "learner.2"),
    *("gs_sampler.1", "evaluator.1", "run.1"),
)
SERVERS = ("rabbitmq", "redis")
SUMO = "sumo"

#: Kinds of processes that have a link of their own to each server.
LINKED = ("run", "learner", "rollout", "gs_sampler", "evaluator")

#: Seconds that a fault lasts: most are short; above 10 s clients no longer wait for an answer.
HOLD_S = (0.3, 15.0)

#: Seconds that the processes of another run stay: they take some of them to start.
OTHER_RUN_S = (6.0, 20.0)

#: Seconds from the progress that follows one fault to the next.
PAUSE_S = (0.0, 2.0)

#: How many faults begin while the one before still lasts.
OVERLAPS = 0.25

#: Faults that themselves need an answer of Redis.
_NEEDS_REDIS = ("Redis OOM", "Redis MISCONF")


@dataclass(frozen=True)
class Fault:
    """What is to be done."""

    number: int
    kind: str
    target: str
    """A process, a link, or what else is meant."""
    hold_s: float
    pause_s: float
    overlaps: bool
    """It begins while the one before lasts, if the two can meet."""

    @property
    def name(self) -> str:
        """What, and of whom."""
        return f"{self.kind}: {self.target}" if self.target else self.kind

    @property
    def seed(self) -> str:
        """Of what is drawn when it is carried out."""
        return f"{self.number} {self.name} {self.hold_s}"


def schedule(seed: int, kinds: list[str]) -> Iterator[Fault]:
    """Faults without end: in every round each of ``kinds`` is as frequent as in KINDS."""
    chance = random.Random(seed)
    number = 0
    while True:
        deck = [kind for kind in kinds for _ in range(KINDS[kind])]
        chance.shuffle(deck)
        for kind in deck:
            number += 1
            target = chance.choice(_targets(kind))
            shortest, longest = OTHER_RUN_S if kind == "other run" else HOLD_S
            hold_s = shortest * (longest / shortest) ** chance.random()
            pause_s = chance.uniform(*PAUSE_S)
            overlaps = chance.random() < OVERLAPS
            yield Fault(number, kind, target, round(hold_s, 2), round(pause_s, 2), overlaps)


def _targets(kind: str) -> list[str]:
    if kind == "kill":
        return [*PROCESSES, *SERVERS, SUMO]
    if kind == "freeze":
        return [*PROCESSES, *SERVERS]
    if kind == "link cut":
        return [
            f"{who} to {server}, {how}"
            for who in (*LINKED, "all", "all")
            for server in SERVERS
            for how in ("closed", "silent")
        ]
    if kind == "torn cache":
        return list(PROCESSES)
    if kind == "other run":
        return ["same name, other database", "other name"]
    return [""]


def may_meet(first: Fault, second: Fault) -> bool:
    """Whether the second can begin while the first lasts: who asks Redis for something needs its answer."""
    return first.kind != second.kind and not (first.target == "redis" and second.kind in _NEEDS_REDIS)
