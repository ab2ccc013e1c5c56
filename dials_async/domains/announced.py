"""What a domain announces of itself, checked once when it is made."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dials_async.domains.base import AgentSpec, Domain
from dials_async.domains.checks import Site
from dials_async.errors import ConfigError

#: float32 holds no larger reward.
_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Field:
    name: str
    wanted: str
    holds: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


_FIELDS = (
    _Field("episode_steps", "a whole number from 1", _is_whole),
    _Field("n_agents", "a whole number from 1", _is_whole),
    _Field("global_envs", "a whole number from 1, or None", lambda x: x is None or _is_whole(x)),
    _Field(
        "largest_reward", f"a number above 0, at most {_MOST:.2g}", lambda x: _is_number(x) and 0 < x <= _MOST
    ),
    _Field("baselines", "a list or tuple of names", _are_names),
    _Field(
        "published",
        "a dictionary of numbers by name",
        lambda x: isinstance(x, Mapping) and _are_names(list(x)) and all(map(_is_number, x.values())),
    ),
    _Field("published_note", "a text", lambda x: isinstance(x, str)),
    _Field("machine_options", "a list or tuple of names", _are_names),
)


def announced(own: Domain, name: str, site: Site) -> dict[str, Any]:
    """What the domain ``own`` says, by field; what it leaves out is the default. Raises ConfigError."""
    values = {}
    for field in _FIELDS:
        with site:
            value = getattr(own, field.name, getattr(Domain, field.name, None))
        if not field.holds(value):
            raise ConfigError(f"domain '{name}': {field.name} = {value!r}: must be {field.wanted}")
        values[field.name] = value
    return values


def spec_of(own: Domain, name: str, site: Site, agent: int) -> AgentSpec:
    """Sizes of ``agent`` of the domain ``own``. Raises ConfigError."""
    try:
        with site:
            spec = own.spec(agent)
    except ConfigError as error:  # of AgentSpec, which does not know whose it is
        raise ConfigError(f"domain '{name}', agent {agent}: {error}") from None
    if not isinstance(spec, AgentSpec):
        raise ConfigError(f"domain '{name}', agent {agent}: spec returned {spec!r}, not an AgentSpec")
    return spec
