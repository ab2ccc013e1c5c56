"""The numbers of the algorithm as the kernel takes them, from the configuration; what an update reports."""

from typing import NamedTuple

from dials_async.config import Config
from dials_async.groups import Group
from dials_async.networks.layout import GRU

#: Names of the numbers that an update reports for each agent, in their order.
HEALTH = (
    "policy_loss",
    "value_loss",
    "entropy",
    "approximate_kl",
    "clip_fraction",
    "gradient_norm",
    "explained_variance",
)


class Settings(NamedTuple):
    """Numbers of the algorithm, as the kernel takes them (meaning and ranges: ``dials_async.config.Ppo``)."""

    gamma: float
    lam: float
    clip: float
    entropy: float
    value_coefficient: float
    max_gradient_norm: float
    adam_epsilon: float
    epochs: int
    minibatch_steps: int
    sequence_steps: int


def make_settings(config: Config, group: Group) -> Settings:
    """The algorithm's numbers as the kernel takes them."""
    ppo = config.ppo
    return Settings(
        gamma=ppo.gamma,
        lam=ppo.gae_lambda,
        clip=ppo.clip,
        entropy=ppo.entropy,
        value_coefficient=ppo.value_coefficient,
        max_gradient_norm=ppo.max_gradient_norm,
        adam_epsilon=ppo.adam_epsilon,
        epochs=ppo.epochs,
        minibatch_steps=ppo.minibatch_steps,
        sequence_steps=ppo.sequence_steps if group.actor.kind == GRU else 1,
    )


def schedules(config: Config, steps_per_agent: int) -> tuple[float, float]:
    """Learning rate and entropy weight: linear over ``schedule_steps``, then constant."""
    ppo = config.ppo
    done = min(1.0, steps_per_agent / config.schedule_steps)
    return (
        ppo.learning_rate + (ppo.final_learning_rate - ppo.learning_rate) * done,
        ppo.entropy + (ppo.final_entropy - ppo.entropy) * done,
    )
