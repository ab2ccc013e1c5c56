"""The learner of one group: asks for experience, updates with PPO, commits (Algorithm 1, lines 7 to 12).

Order that makes it safe to kill at any moment: publish tasks, collect, update, commit to the store, and only
then acknowledge the experience. Whatever is lost is asked for again; tasks are idempotent and experience is
deduplicated by (update, index, agent).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.errors import BadMessageError, QueueFullError, TrainingError
from dials_async.groups import Group
from dials_async.kernels.rng import seed64
from dials_async.learning.ppo import Scratch, make_scratch, update_agent
from dials_async.learning.settings import HEALTH, make_settings, schedules
from dials_async.messaging.broker import Consumer, Delivery, experience, rollout_tasks
from dials_async.messaging.schema import (
    Experience,
    ExperienceShape,
    RolloutTask,
    decode_experience,
    encode_task,
)
from dials_async.run_context import RunContext
from dials_async.store.base import GroupState

#: Seconds between looks at the stop signal while waiting.
POLL_S = 0.1

#: Seconds without any experience after which the tasks are published again: a broker that lost its queues,
#: or a worker that died with an acknowledged task, costs this much and nothing else.
ASK_AGAIN_S = 60.0

_Key = tuple[int, int, int]  # update, task index, agent


class GroupLearner:
    """Learns for one group until its last update, or until told to stop."""

    def __init__(self, context: RunContext, group: Group) -> None:
        self._context = context
        self._group = group
        config = context.config
        self._lag = config.rollout.max_policy_lag
        self._n_tasks = config.rollout.tasks_per_update
        self._n_episodes = config.rollout.episodes_per_task
        self._steps = context.domain.episode_steps
        self._asks = (
            config.run.simulator != "gs"
        )  # on the GS one joint episode serves all groups: the sampler asks
        self._settings = make_settings(config, group)
        self._scratch: Scratch = make_scratch(
            group.actor, group.critic, self._settings, self._n_tasks * self._n_episodes, self._steps
        )
        self._update_agent = update_agent
        if config.ppo.backend == "torch":
            from dials_async.learning import ppo_torch  # seconds to import: only where it is asked for

            self._update_agent = ppo_torch.update_agent
        self._shape = ExperienceShape(
            self._n_episodes, self._steps, group.spec.observation_bytes, group.spec.n_actions
        )
        self._asked_up_to = -1  # last update whose tasks were published
        self._inbox: dict[_Key, tuple[Experience, Delivery]] = {}
        self._asked_again: set[tuple[int, int, int]] = set()  # update, task index, version then
        self.health = np.zeros((group.n_agents, len(HEALTH)))
        self.lag_counts: dict[int, int] = {}
        """Messages used so far by how many versions they were old."""
        self.dropped = 0

    def run(self) -> None:
        """Learn until the run is done or ``context.stop`` is set."""
        context, group = self._context, self._group
        state = context.store.latest_group(group.index) or self._commit_first()
        self._asked_up_to = state.version - 1
        queues = [experience(context.name, agent) for agent in group.agents]
        # Less would deadlock: nothing is acknowledged before the commit that needs all of it.
        prefetch = (self._lag + 1) * self._n_tasks * group.n_agents
        consumer = context.broker.consumer(queues, prefetch)
        try:
            while state.version < context.clock.n_updates and not context.stop.is_set():
                if not self._ask(state.version) or not self._collect(consumer, state.version):
                    return
                state = self._update(consumer, state)
        finally:
            consumer.close()

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
        self._context.store.commit_group(state)
        return state

    def _ask(self, version: int) -> bool:
        """Publish the tasks that may be in flight at ``version``; False if stopped while waiting for AIPs."""
        last = min(version + self._lag, self._context.clock.n_updates - 1)
        while self._asked_up_to < last:
            update = self._asked_up_to + 1
            # At lag 0 the AIP version is pinned, and this is the barrier of a refresh.
            needed = self._context.clock.aip_version(version if self._lag == 0 else 0)
            if self._asks and not self._wait_for_aip(needed):
                return False
            self._publish_tasks(update, needed)
            self._asked_up_to = update
        return True

    def _publish_tasks(self, update: int, aip_version: int) -> None:
        for index in range(self._n_tasks if self._asks else 0):
            self._publish_task(update, index, aip_version)

    def _publish_task(self, update: int, index: int, aip_version: int) -> None:
        context = self._context
        task = RolloutTask(
            run=context.name,
            kind="ials",
            group=self._group.index,
            update=update,
            index=index,
            episodes=self._n_episodes,
            policy_versions=(update if self._lag == 0 else -1,),
            aip_version=aip_version if self._lag == 0 else -1,
        )
        while True:
            try:
                context.broker.publish(rollout_tasks(context.name), encode_task(task))
                return
            except QueueFullError:
                if context.stop.wait(POLL_S):
                    return

    def _wait_for_aip(self, version: int) -> bool:
        while self._context.store.aip_version() < version:
            if self._context.stop.is_set():
                return False
            self._context.store.wait(POLL_S)
        return True

    def _collect(self, consumer: Consumer, version: int) -> bool:
        """Receive until every message of the update from ``version`` is here; False if stopped before."""
        wanted = [(version, index, agent) for index in range(self._n_tasks) for agent in self._group.agents]
        idle_s = 0.0
        while any(key not in self._inbox for key in wanted):
            if self._context.stop.is_set():
                return False
            delivery = consumer.receive(POLL_S)
            if delivery is None:
                idle_s += POLL_S
                if idle_s >= ASK_AGAIN_S and self._lag == 0:
                    self._publish_tasks(version, self._context.clock.aip_version(version))
                    idle_s = 0.0
                continue
            idle_s = 0.0
            self._take(consumer, delivery, version)
        return True

    def _take(self, consumer: Consumer, delivery: Delivery, version: int) -> None:
        try:
            message = decode_experience(delivery.body, self._shape)
            self._check(message)
        except BadMessageError as error:
            consumer.reject(delivery, str(error))
            return
        key = (message.update, message.index, message.agent)
        behind = message.update < version or key in self._inbox  # used already, or a second copy
        if behind or message.update > version + self._lag:  # or left over by a run that was further on
            consumer.ack(delivery)
        elif message.update - message.policy_version > self._lag:
            self.dropped += 1
            consumer.ack(delivery)
            request = (message.update, message.index, version)
            if request not in self._asked_again:  # once for the task, not for each of its messages
                self._asked_again.add(request)
                self._publish_task(message.update, message.index, -1)
        else:
            self._inbox[key] = (message, delivery)

    def _check(self, message: Experience) -> None:
        if message.run != self._context.name:
            raise BadMessageError(
                f"experience of run '{message.run}' in a queue of run '{self._context.name}'"
            )
        if message.agent not in self._group.agents or not 0 <= message.index < self._n_tasks:
            raise BadMessageError(
                f"agent {message.agent}, task {message.index}: not of group {self._group.index}"
            )

    def _update(self, consumer: Consumer, state: GroupState) -> GroupState:
        context, group, version = self._context, self._group, state.version
        batches = {
            agent: [self._inbox[version, index, agent] for index in range(self._n_tasks)]
            for agent in group.agents
        }
        with context.phases("learn"):
            new = self._learn(state, {agent: [m for m, _ in batch] for agent, batch in batches.items()})
        context.store.commit_group(new)
        self._asked_again = {request for request in self._asked_again if request[2] > version}
        self._note_time(new)
        for agent, batch in batches.items():
            for index, (_, delivery) in enumerate(batch):
                consumer.ack(delivery)
                del self._inbox[version, index, agent]
        return new

    def _learn(self, state: GroupState, batches: dict[int, list[Experience]]) -> GroupState:
        context, group = self._context, self._group
        weights, m, v = (np.array(state.arrays[name]) for name in ("weights", "adam_m", "adam_v"))
        before = int(state.meta["adam_steps"])
        after = before
        rate, entropy = schedules(context.config, state.steps_per_agent)
        settings = self._settings._replace(entropy=entropy)
        for row, agent in enumerate(group.agents):
            batch = batches[agent]
            lags = [state.version - message.policy_version for message in batch]
            for lag in lags:
                self.lag_counts[lag] = self.lag_counts.get(lag, 0) + 1
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
                max(lags) > 0,
                settings,
                rate,
                np.uint64(seed64(context.seed, "ppo", agent, state.version)),
                self._scratch,
                self.health[row],
            )
        if not np.isfinite(weights).all():
            broken = [agent for row, agent in enumerate(group.agents) if not np.isfinite(weights[row]).all()]
            raise TrainingError(
                f"the weights of agents {broken} are not finite after update {state.version}: "
                f"lower ppo.learning_rate ({context.config.ppo.learning_rate}) or ppo.max_gradient_norm"
            )
        return GroupState(
            group=group.index,
            version=state.version + 1,
            steps_per_agent=context.clock.steps(state.version + 1),
            arrays={"weights": weights, "adam_m": m, "adam_v": v},
            meta={"adam_steps": int(after)},
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
