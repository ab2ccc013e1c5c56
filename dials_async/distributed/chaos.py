"""``dials chaos``: a run ends with the same weights when everything in it is killed, again and again.

First the run is trained undisturbed, in this process. Then ``honcho start`` trains it on a RabbitMQ and Redis
of its own, and each of its processes and both servers are killed in turn (SIGKILL), paced by progress: after
so many commits, a random moment later, while the victim has work.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

from dials_async.clock import make_clock
from dials_async.config import Config
from dials_async.distributed.connection import Connection, wait_to_connect
from dials_async.distributed.honcho import Honcho
from dials_async.domains.registry import make_domain
from dials_async.errors import BrokerError, StoreError, TrainingError
from dials_async.runtime import training
from dials_async.runtime.folder import SUMMARY

#: Seconds between two announcements of a process in such a run: "it has work" must not be old news.
BEAT_S = 0.05

#: A process whose last word is older than this is not known to have work now.
FRESH_S = 0.2

#: Seconds that a victim gets to have work, or to come back.
PATIENCE_S = 120.0

#: What each kind of process does when it has work: phases of which it must be in one. A server has work as
#: long as the run goes on. The keeper, which leads, takes no part in training.
_WORK: dict[str, tuple[str, ...]] = {
    "rollout": ("rollout",),
    "learner": ("learn",),
    "gs_sampler": ("collect", "aip"),
    "evaluator": ("evaluate",),
    "rabbitmq": (),
    "redis": (),
}

#: The longest random pause between a commit and the kill, seconds: about an update and a refresh.
PAUSE_S = 2.0


@dataclass(frozen=True)
class Kill:
    """One kill."""

    number: int
    victim: str
    pid: int
    doing: str
    commits: int
    """Commits of all groups by then."""
    seconds: float
    """Since the run began."""
    back_after_s: float
    """Until it, or what was started in its place, was there again."""


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    expected_sha256: str
    sha256: str
    messages_expected: int
    messages_used: int
    undisturbed_seconds: float
    seconds: float
    kills: list[Kill]

    @property
    def passed(self) -> bool:
        """The same weights, and every message used exactly once."""
        return self.sha256 == self.expected_sha256 and self.messages_used == self.messages_expected

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "passed": self.passed, "by_victim": self.by_kind()}

    def by_kind(self) -> dict[str, int]:
        """Kills of each kind of process."""
        return dict(Counter(kind_of(kill.victim) for kill in self.kills))


def run_chaos(
    config: Config, folder: Path, kills: int, rollouts: int, learners: int, every: int, seed: int
) -> Verdict:
    """Train undisturbed, then under fire. Raises TrainingError if the run under fire does not end.

    Args:
        config: of the run.
        folder: new; everything is written below it.
        kills: at least this many, in turn over all processes; more as long as the run goes on.
        rollouts: rollout workers.
        learners: learner daemons.
        every: commits, over all groups, between two kills.
        seed: of the moments.
    """
    folder.mkdir(parents=True)
    os.environ["DIALS_RUNS"] = str(folder / "runs")
    start = time.monotonic()
    undisturbed = training.train("undisturbed", config, "dials chaos", watching=training.QUIETLY)
    if undisturbed.summary is None:
        raise TrainingError("the undisturbed run was stopped")
    undisturbed_s = time.monotonic() - start
    _say(f"undisturbed: {undisturbed.summary['weights_sha256'][:16]}, {undisturbed_s:.0f} s")
    with Honcho(config, "chaos", folder, {"rollout": rollouts, "learner": learners}, BEAT_S) as honcho:
        start = time.monotonic()
        done = _Chaos(honcho, every, random.Random(seed)).go_on(kills)
        code = honcho.wait()
        seconds = time.monotonic() - start
    if code != 0:
        raise TrainingError(f"honcho ended with exit code {code}: see {honcho.log}")
    summary = json.loads((folder / "runs" / "chaos" / SUMMARY).read_text(encoding="utf-8"))
    clock = make_clock(config, make_domain(config.domain))
    return Verdict(
        expected_sha256=undisturbed.summary["weights_sha256"],
        sha256=summary["weights_sha256"],
        messages_expected=clock.n_updates * config.rollout.tasks_per_update * summary["agents"],
        messages_used=summary["learning"]["messages_used"],
        undisturbed_seconds=undisturbed_s,
        seconds=seconds,
        kills=done,
    )


class _Chaos:
    """Kills in turn, and waits for each victim to come back."""

    def __init__(self, honcho: Honcho, every: int, chance: random.Random) -> None:
        self._honcho = honcho
        self._every = every
        self._chance = chance
        self._start = time.monotonic()
        self._over = Event()
        # When the run is over so are its servers: nobody waits for them then.
        threading.Thread(target=self._note_end, daemon=True).start()
        connection = wait_to_connect(honcho.run, self._over, PATIENCE_S, _say)
        if connection is None:
            raise TrainingError(f"honcho ended before there was a run: see {honcho.log}")
        self._connection: Connection = connection
        self._victims = [(name, _WORK[kind_of(name)]) for name in honcho.names if kind_of(name) in _WORK]

    def _note_end(self) -> None:
        self._honcho.wait()
        self._over.set()

    def go_on(self, at_least: int) -> list[Kill]:
        """Kill until the run is complete; the list of kills. Raises TrainingError after fewer than wanted."""
        kills: list[Kill] = []
        order: list[tuple[str, tuple[str, ...]]] = []
        before = self._commits()
        try:
            while self._honcho.is_running():
                if not order:
                    order = self._chance.sample(self._victims, len(self._victims))
                if self._commits() < before + self._every:
                    time.sleep(BEAT_S)
                    continue
                time.sleep(self._chance.uniform(0.0, PAUSE_S))
                kill = self._kill(len(kills) + 1, *order.pop())
                if kill is not None:
                    kills.append(kill)
                    _say(in_words(kill))
                before = self._commits()
        except (BrokerError, StoreError):
            if not self._over.is_set():
                raise
        finally:
            self._connection.close()
        if len(kills) < at_least:
            raise TrainingError(f"the run was complete after {len(kills)} kills: give it more --steps")
        return kills

    def _kill(self, number: int, victim: str, phases: tuple[str, ...]) -> Kill | None:
        """Kill ``victim`` while it has work; None if the run ended before it had."""
        found = self._server(victim) if not phases else self._at_work(victim, phases)
        if found is None:
            return None
        pid, doing = found
        commits = self._commits()
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        back = (lambda: self._server(victim)) if not phases else (lambda: self._new_life(victim, pid))
        while back() is None and self._honcho.is_running():
            if time.monotonic() - killed > PATIENCE_S:
                raise TrainingError(f"{victim} was killed and did not come back: see {self._honcho.log}")
            time.sleep(BEAT_S)
        now = time.monotonic()
        return Kill(
            number, victim, pid, doing, commits, round(killed - self._start, 1), round(now - killed, 2)
        )

    def _at_work(self, victim: str, phases: tuple[str, ...]) -> tuple[int, str] | None:
        """Pid and occupation, once it is in one of ``phases``."""
        deadline = time.monotonic() + PATIENCE_S
        while self._honcho.is_running():
            for facts, age_s in self._lives(victim):
                if age_s < FRESH_S and not set(phases).isdisjoint(facts["busy_with"]):
                    return int(facts["pid"]), str(facts["doing"])
            if time.monotonic() > deadline:
                return None
            time.sleep(BEAT_S / 2)
        return None

    def _server(self, victim: str) -> tuple[int, str] | None:
        """Pid of the server, once it answers."""
        server = self._honcho.server(kind_of(victim))
        pid = listener(server.port)
        if pid is None or not server.answers():
            return None
        return pid, f"serving {len(self._honcho.names)} processes"

    def _new_life(self, victim: str, old_pid: int) -> bool | None:
        return any(age_s < 1.0 and facts["pid"] != old_pid for facts, age_s in self._lives(victim)) or None

    def _lives(self, victim: str) -> list[tuple[Mapping[str, Any], float]]:
        processes = self._connection.registry.processes(self._honcho.run)
        return [(p.facts, p.age_s) for p in processes.values() if p.facts["name"] == victim]

    def _commits(self) -> int:
        context = self._connection.context
        return sum(max(0, context.store.group_version(group.index)) for group in context.groups)


def kind_of(name: str) -> str:
    """The kind of a process by honcho's name for it: "rollout" of rollout.2."""
    return name.partition(".")[0]


def in_words(kill: Kill) -> str:
    """One line for one kill."""
    return (
        f"{kill.number:>3}  {kill.seconds:>6.1f} s  {kill.commits:>5} commits  {kill.victim:<13} "
        f"{kill.doing}; back after {kill.back_after_s:.1f} s"
    )


def listener(port: int) -> int | None:
    """Pid of the process that listens on this TCP port of loopback (Linux); None if there is none."""
    inodes = set()
    for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = row.split()
        if fields[3] == "0A" and int(fields[1].partition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it ended, or closed the file, while we looked
            if os.readlink(link) in inodes:
                return int(link.parts[2])
    return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
