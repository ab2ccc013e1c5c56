"""The learner of one group: asks for experience, updates with PPO, commits (Algorithm 1, lines 7 to 12).

Order that makes it safe to kill at any moment: publish tasks, collect, update, commit to the store, and only
then acknowledge the experience. Whatever is lost is asked for again; tasks are idempotent and experience is
deduplicated by (update, index, agent).
"""

import logging
import time
from collections.abc import Sequence
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.clock import EVALUATION
from dials_async.errors import VersionConflictError
from dials_async.groups import Group
from dials_async.kernels.ordered import mean_of_rows
from dials_async.kernels.rng import seed64
from dials_async.learning.backends import update_of
from dials_async.learning.inbox import Arrivals, Inbox
from dials_async.learning.poison import Burials, broken_agents
from dials_async.learning.progress import LearningProgress
from dials_async.learning.requests import Requests
from dials_async.learning.scratch import Scratch, make_scratch
from dials_async.learning.settings import HEALTH, make_settings, schedules
from dials_async.learning.tally import count, read_counts
from dials_async.messaging.broker import Consumer
from dials_async.messaging.schema import Experience
from dials_async.part import POLL_S
from dials_async.run_context import RunContext
from dials_async.store.base import GroupState

#: Seconds without any experience, and with no task waiting for a worker, after which tasks are published
#: again. A broken connection is noticed at once; this is for what nobody noticed.
ASK_AGAIN_S = 60.0

#: Seconds of waiting between looks at the store: another learner may have made the update.
LOOK_S = 1.0

#: Versions that wait for the evaluator; with more of them no other one is made that it has to wait for.
MAX_WAITING_EVALUATIONS = 2

logger = logging.getLogger(__name__)


class GroupLearner:
    """Learns for one group until its last update, or until told to stop."""

    def __init__(self, context: RunContext, group: Group, released: Event | None = None) -> None:
        """``released``, once set, ends this learner alone: its group is another process's now."""
        self._context = context
        self._group = group
        self._released = released or Event()
        rollout = context.config.rollout
        # Less would deadlock: nothing is acknowledged before the commit that needs all of it.
        self._prefetch = (rollout.max_policy_lag + 1) * rollout.tasks_per_update * group.n_agents
        self._settings = make_settings(context.config, group)
        n_episodes = rollout.tasks_per_update * rollout.episodes_per_task
        self._scratch: Scratch = make_scratch(
            group.actor, group.critic, self._settings, n_episodes, context.domain.episode_steps
        )
        self._update_agent = update_of(context.config.ppo.backend)
        self._inbox = Inbox(context, group)
        self._requests = Requests(context, group)
        self._interruptions = 0  # of the consumer, as far as they were answered by asking again
        self._burials = Burials(context.config)
        self._dropped_before = 0  # of the inbox's count, as far as it is in a commit
        self._progress = LearningProgress(context.metrics, group.index, group.agents)
        self.health = np.zeros((group.n_agents, len(HEALTH)))
        self.doing = "starting"
        """What it is at, or waits for, in a few words."""
        self.version = -1
        self._learning_rate = 0.0

    def facts(self) -> dict[str, Any]:
        """What others may want to know of it: "doing" and the counts of the newest commit."""
        return {"doing": self.doing, "unmoved": self._progress.unmoved, **read_counts(self._progress.counts)}

    @property
    def arrivals(self) -> Arrivals:
        """What arrived in this process and was not used."""
        return self._inbox.arrivals

    def run(self) -> None:
        """Learn until the run is done, ``context.stop`` is set, or the group is released."""
        context, group = self._context, self._group
        state = context.newest(group) or self._commit_first()
        self._requests.start(state.version)
        self._progress.starts_from(state)
        consumer = context.broker.consumer(
            [context.queues.experience(agent) for agent in group.agents], self._prefetch
        )
        try:
            while state.version < context.clock.n_updates and not self._stopped:
                self.version = state.version
                if self._collect(consumer, state.version):
                    state = self._update(consumer, state)
                elif not self._stopped:
                    state = self._follow(consumer, state)
            self.version, self.doing = state.version, "done"
        finally:
            consumer.close()
            if self._released.is_set():
                self._progress.gives_up()

    @property
    def _stopped(self) -> bool:
        return self._context.stop.is_set() or self._released.is_set()

    def _commit_first(self) -> GroupState:
        weights = self._group.initial_weights(self._context.seed)
        zeros = np.zeros_like(weights)
        state = GroupState(
            group=self._group.index,
            version=0,
            steps_per_agent=0,
            arrays={"weights": weights, "adam_m": zeros, "adam_v": zeros},
            meta={"adam_steps": 0},
        )
        try:
            self._context.store.commit_group(state, self._context.clock.needed_for(0))
        except VersionConflictError:
            newest = self._context.newest(self._group)
            if newest is None:  # it was there a moment ago
                raise
            return newest
        return state

    def _collect(self, consumer: Consumer, version: int) -> bool:
        """Ask for the experience of the update from ``version`` and receive until all of it is here.

        False if stopped before, or if the newest version in the store is another one.
        """
        inbox, requests, clock = self._inbox, self._requests, self._context.clock
        patience_s = ASK_AGAIN_S
        heard = looked = time.monotonic()
        all_is_asked_for, waits_for = False, ""
        while not all_is_asked_for or inbox.missing(version):
            now = time.monotonic()
            if self._stopped:
                return False
            if now - looked > LOOK_S:
                looked = now
                if self._context.store.group_version(self._group.index) != version:
                    return False
            if not all_is_asked_for:
                waits_for = self._waits_for(version)
                all_is_asked_for = not waits_for and requests.publish(version)
                heard = now
            if all_is_asked_for:
                self.doing = f"collecting experience for update {version + 1}"
                with self._progress.waiting("experience"):
                    delivery = consumer.receive(POLL_S)
            else:
                self.doing = f"waiting for {waits_for or f'AIP version {clock.aip_version(version)}'}"
                delivery = consumer.receive(0.0)
            if delivery is not None:
                heard = now
                too_old = inbox.take(consumer, delivery, version)
                if too_old is not None:
                    requests.renew(*too_old, version)
            elif not all_is_asked_for:
                with self._progress.waiting("evaluations" if waits_for else "aips"):
                    self._context.store.wait(POLL_S)
            elif consumer.interruptions != self._interruptions:
                # The broker may have lost what it had: tasks and experience are transient.
                self._interruptions = consumer.interruptions
                self._ask_again(version, "the connection to the broker was lost")
            elif now - heard > patience_s and not requests.are_waiting:
                self._ask_again(version, f"no experience for {patience_s:.0f} s")
                heard, patience_s = now, 2 * patience_s
        return True

    def _waits_for(self, version: int) -> str:
        """What has to come before the next update can be made, if it is not experience or AIPs."""
        context = self._context
        if context.clock.is_evaluated(version + 1):
            waiting = context.store.held(self._group.index, EVALUATION)
            if len(waiting) > MAX_WAITING_EVALUATIONS:
                return f"the evaluator: {len(waiting)} versions wait for it"
        return ""

    def _ask_again(self, version: int, why: str) -> None:
        missing = {update: self._inbox.missing(update) for update in self._requests.in_flight(version)}
        tasks = sum(len(indices) for indices in missing.values())
        if tasks:
            logger.warning("group %d: asking again for %d tasks: %s", self._group.index, tasks, why)
            self._requests.again(version, missing)

    def _follow(self, consumer: Consumer, state: GroupState) -> GroupState:
        """Go on from the store's newest version: it is the only truth, and not the one that was expected.

        It is ahead if another learner has the group too, or behind if the store was restored.
        """
        newest = self._context.newest(self._group) or self._commit_first()
        logger.warning(
            "group %d: the newest version is %d, not %d; going on from there",
            self._group.index,
            newest.version,
            state.version,
        )
        self._inbox.settle(consumer, newest.version)
        self._requests.start(newest.version, others_asked=newest.version > state.version)
        return newest

    def _update(self, consumer: Consumer, state: GroupState) -> GroupState:
        context, version = self._context, state.version
        self.doing = f"learning update {version + 1}"
        batches = self._inbox.batches(version)
        with context.phases("learn"), self._progress.updating():
            new = self._learn(state, batches)
        if broken := broken_agents(new, self._group):
            self._inbox.bury(consumer, version, self._burials.reasons(version, broken, batches))
            self._ask_again(version, f"update {version} of agents {broken} is not finite")
            return state
        try:
            context.store.commit_group(new, context.clock.needed_for(new.version))
        except VersionConflictError:
            return self._follow(consumer, state)
        self._dropped_before = self._inbox.arrivals.dropped
        messages = [message for batch in batches.values() for message in batch]
        self._progress.committed(state, new, messages, self._learning_rate, mean_of_rows(self.health))
        self._note_time(new)
        self._inbox.settle(consumer, new.version)
        return new

    def _learn(self, state: GroupState, batches: dict[int, list[Experience]]) -> GroupState:
        context, group = self._context, self._group
        weights, m, v = (np.array(state.arrays[name]) for name in ("weights", "adam_m", "adam_v"))
        before = int(state.meta["adam_steps"])
        after = before
        rate, entropy = schedules(context.config, state.steps_per_agent)
        self._learning_rate = rate
        settings = self._settings._replace(entropy=entropy)
        for row, agent in enumerate(group.agents):
            batch = batches[agent]
            after = self._update_agent(
                group.actor,
                group.critic,
                group.n_actor,
                weights[row],
                m[row],
                v[row],
                before,
                _joined([message.observations for message in batch]),
                _joined([message.actions for message in batch]),
                _joined([message.rewards for message in batch]),
                _joined([message.log_probs for message in batch]),
                self._terminated(batch),
                any(message.policy_version < state.version for message in batch),
                settings,
                rate,
                np.uint64(seed64(context.seed, "ppo", agent, state.version)),
                self._scratch,
                self.health[row],
            )
        counts = count(
            state.meta,
            state.version,
            [message for batch in batches.values() for message in batch],
            context.store.aip_version(),
            self._inbox.arrivals.dropped - self._dropped_before,
            self.health,
        )
        return GroupState(
            group=group.index,
            version=state.version + 1,
            steps_per_agent=context.clock.steps(state.version + 1),
            arrays={"weights": weights, "adam_m": m, "adam_v": v},
            meta={"adam_steps": int(after), "learned_s": round(context.seconds(), 1), **counts},
        )

    def _terminated(self, batch: list[Experience]) -> NDArray[np.uint8]:
        terminated = _joined([message.terminated for message in batch])
        if self._context.config.parity.truncation_is_termination:
            terminated |= _joined([message.truncated for message in batch])
        return terminated

    def _note_time(self, new: GroupState) -> None:
        """Leave for the evaluator when this version was committed, if it is one to be evaluated."""
        if self._context.clock.is_evaluated(new.version):
            seconds = round(self._context.seconds(), 3)
            record = {"id": f"g{self._group.index}/v{new.version}", "seconds": seconds}
            self._context.store.append_record("commits", record)


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays)
