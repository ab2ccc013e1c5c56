"""The clock of a run: which update, refresh and evaluation come at how many steps per agent (Algorithm 1, F).

Everything here is arithmetic on committed steps, so that every process comes to the same answer.
"""

from dataclasses import dataclass

from dials_async.config import Config
from dials_async.domains.base import Domain
from dials_async.errors import ConfigError


@dataclass(frozen=True)
class Clock:
    """Steps per agent of updates, refreshes and evaluations."""

    steps_per_update: int
    n_updates: int
    refresh_steps: int
    eval_steps: int
    aips_are_trained: bool
    """Only with the simulator "dials"."""

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
        return 1 + self.steps(version) // self.refresh_steps if self.aips_are_trained else 0

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
    )
