"""The clock of a run: which update, refresh and evaluation come at how many steps per agent (Algorithm 1, F).

Everything here is arithmetic on committed steps, so that every process comes to the same answer. It also says
what a version of the policies is still needed for; the store keeps it until each of these has released it.
"""

from dataclasses import dataclass

from dials_async.config import Config
from dials_async.domains.base import Domain
from dials_async.errors import ConfigError

#: What a version of a group may be needed for when it is no longer among the newest.
REFRESH, EVALUATION = "refresh", "evaluation"


@dataclass(frozen=True)
class Clock:
    """Steps per agent of updates, refreshes and evaluations."""

    steps_per_update: int
    n_updates: int
    refresh_steps: int
    eval_steps: int
    aips_are_trained: bool
    """Only with the simulator "dials"."""
    refreshes_are_pinned: bool = True
    """At policy lag 0 a refresh is made for one version; else for whatever is newest when it begins."""

    @property
    def total_steps(self) -> int:
        """Steps per agent at the last version: whole updates, at most ``run.steps``."""
        return self.n_updates * self.steps_per_update

    def steps(self, version: int) -> int:
        """Steps per agent that made ``version``."""
        return version * self.steps_per_update

    def first_version(self, steps: int) -> int:
        """The first version at or after ``steps`` per agent."""
        return -(-steps // self.steps_per_update)

    @property
    def n_refreshes(self) -> int:
        """Refreshes of the whole run: at 0, F, 2F, ... as long as an update is left that uses them."""
        return self.aip_version(self.n_updates - 1)

    def aip_version(self, version: int) -> int:
        """AIP version that rollouts for the update of policy ``version`` use at lag 0."""
        return self.refreshes_due(self.steps(version))

    def refresh_version(self, refresh: int) -> int:
        """The version that a refresh, counted from 0, is made for: the first at or after r F."""
        return self.first_version(refresh * self.refresh_steps)

    def refreshes_due(self, steps: int) -> int:
        """How many refreshes belong to the first ``steps`` per agent, that of step 0 among them."""
        return 1 + steps // self.refresh_steps if self.aips_are_trained else 0

    def needed_for(self, version: int) -> frozenset[str]:
        """What ``version`` has to be kept for, until it is released: REFRESH, EVALUATION, both or none."""
        found = {EVALUATION} if self.is_evaluated(version) else set()
        is_refreshed = self.aip_version(version) > self.aip_version_behind(version)
        if self.refreshes_are_pinned and is_refreshed and version < self.n_updates:
            found.add(REFRESH)
        return frozenset(found)

    def aip_version_behind(self, version: int) -> int:
        """AIP version that produced ``version``: the one in use just before (0, untrained, for version 0)."""
        return self.aip_version(version - 1) if version else 0

    def evaluations(self) -> list[int]:
        """Versions to evaluate: the first at or after 0, E, 2E, ..., and the last."""
        multiples = range(0, self.total_steps, self.eval_steps)
        return sorted({*map(self.first_version, multiples), self.n_updates})

    def is_evaluated(self, version: int) -> bool:
        """Whether ``version`` is one of :meth:`evaluations`."""
        before = self.steps(version - 1) // self.eval_steps if version else -1
        return version == self.n_updates or self.steps(version) // self.eval_steps > before


def make_clock(config: Config, domain: Domain) -> Clock:
    """The clock of ``config``. Raises ConfigError if the run is shorter than one update."""
    rollout, episode = config.rollout, domain.episode_steps
    per_update = rollout.tasks_per_update * rollout.episodes_per_task * episode
    if config.run.steps < episode:
        raise ConfigError(f"run.steps = {config.run.steps}: one episode has {episode} steps")
    if config.run.steps < per_update:
        raise ConfigError(
            f"run.steps = {config.run.steps}: one update takes {per_update} steps "
            f"({rollout.tasks_per_update} tasks of {rollout.episodes_per_task} episodes of {episode} steps); "
            "ask for more steps or lower rollout.episodes_per_task"
        )
    if config.aip.gs_steps < 2 * episode:
        raise ConfigError(
            f"aip.gs_steps = {config.aip.gs_steps}: an AIP needs at least two episodes of {episode} steps, "
            "one to train on and one held out"
        )
    return Clock(
        steps_per_update=per_update,
        n_updates=config.run.steps // per_update,
        refresh_steps=config.schedule.refresh_steps,
        eval_steps=config.eval_steps,
        aips_are_trained=config.run.simulator == "dials",
        refreshes_are_pinned=rollout.max_policy_lag == 0,
    )
