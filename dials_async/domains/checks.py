"""The checks of what a domain returns: each names in one line where it was, and what was expected."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import AgentSpec
from dials_async.errors import DialsError, DomainError, in_one_line
from dials_async.kernels.bits import unpack


class Site:
    """A place in a domain's code, to be named in errors; ``with site:`` explains what is raised inside."""

    def __init__(self, domain: str, package: str, what: str = "", agents: Sequence[int] = ()) -> None:
        """``package`` of the domain's code; ``what`` is the simulator; rows of arrays are ``agents``."""
        self._domain, self._package, self._what = domain, package, what
        self.agents = agents
        self.step: int | None = None
        """Of the episode; None where there is none."""

    def error(self, field: str, text: str, row: int | None = None, step: int | None = None) -> DomainError:
        """A mistake in ``field``, of the agent in ``row``."""
        return DomainError(f"{self._where(row, step)}: {field}: {text}")

    def _where(self, row: int | None = None, step: int | None = None) -> str:
        step = self.step if step is None else step
        words = [f"domain '{self._domain}'", self._what]
        words += [] if row is None else [f"agent {self.agents[row]}"]
        words += [] if step is None else [f"step {step}"]
        return ", ".join(filter(None, words))

    def require_methods(self, made: Any, kind: type, names: Sequence[str]) -> None:
        """That ``made`` has all methods of the base class ``kind``."""
        for name in names:
            if not callable(getattr(made, name, None)):
                raise self.error(
                    type(made).__name__,
                    f"has no method {name}: write it, or inherit from {kind.__module__}.{kind.__name__}",
                )

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, DialsError):
            place = _place(trace, self._package)
            raise DomainError(f"{self._where()}: {in_one_line(error)}{place}") from error


def _place(trace: TracebackType | None, package: str) -> str:
    """File and line of the innermost frame in ``package``, else of the innermost one; "" if all are ours."""
    found, innermost = "", ""
    trace = trace.tb_next if trace is not None else None  # the first frame is the call of the domain
    while trace is not None:
        innermost = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            found = innermost
        trace = trace.tb_next
    return found or innermost


@dataclass(frozen=True)
class Expected:
    """What the arrays of some agents, ``n_envs`` episodes of each, must be like."""

    site: Site
    n_envs: int
    n_bytes: int
    n_sources: int
    top_classes: NDArray[np.uint8]  # [agents, 1, n_sources]: the greatest class
    largest_reward: float
    spec: AgentSpec | None
    """Of all the agents; None if they differ: then what is too much for an agent is ignored."""

    @cached_property
    def safe_class(self) -> int:
        """No class up to this one is too great, of whatever agent and source."""
        return int(self.top_classes.min())

    @cached_property
    def reward_limit(self) -> float:
        """The largest reward as float32 may hold it, rounded upwards."""
        return float(np.nextafter(np.float32(self.largest_reward), np.float32(np.inf)))

    def observations(self, value: Any, read: bool) -> NDArray[np.uint8]:
        """Packed observations [agents, envs, bytes]; their bits only if ``read``."""
        observed: NDArray[np.uint8] = self._array("observations", value, np.uint8, bytes=self.n_bytes)
        if read:
            self.bits(observed)
        return observed

    def rewards(self, value: Any) -> NDArray[np.float32]:
        """Rewards [agents, envs]."""
        rewards: NDArray[np.float32] = self._array("rewards", value, np.float32)
        self.range_of_rewards(rewards)
        return rewards

    def influence(self, value: Any) -> NDArray[np.uint8]:
        """Classes [agents, envs, sources], which become indices in kernels."""
        classes: NDArray[np.uint8] = self._array("influence", value, np.uint8, sources=self.n_sources)
        if int(classes.max()) <= self.safe_class:  # nearly always, and then in 2 microseconds, not 20
            return classes
        wrong = classes > self.top_classes
        if wrong.any():
            row, env, source = _first(wrong)
            text = f"source {source} has class {classes[row, env, source]}, expected 0 to "
            raise self.site.error("influence", f"{text}{self.top_classes[row, 0, source]}", row)
        return classes

    def actions(self, value: Any, n_actions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Actions [agents, envs] of a scripted policy; ``n_actions`` [agents]."""
        actions: NDArray[np.uint8] = self._array("actions", value, np.uint8)
        wrong = actions >= n_actions[:, None]
        if wrong.any():
            row, env = _first(wrong)
            text = f"{actions[row, env]}, expected 0 to {n_actions[row] - 1}"
            raise self.site.error("actions", text, row)
        return actions

    def bits(self, packed: NDArray[np.uint8]) -> None:
        """That spare bits are 0 and ladders are ladders; ``packed`` [agents, envs, bytes].

        Or whole episodes, [agents, envs, steps, bytes].
        """
        spec = self.spec
        if spec is None:
            return
        used = spec.observation_bits - 8 * (spec.observation_bytes - 1)  # of the last byte
        spare = packed[..., -1] >> used
        if used < 8 and spare.any():
            text = f"a bit behind the last of {spec.observation_bits} is set: bit k of an observation is bit "
            raise self._at(
                "observations", f"{text}k & 7 of byte k >> 3 (dials_async.kernels.bits.pack)", spare
            )
        if spec.ladder_steps > 1:
            rest = unpack(packed, spec.observation_bits)[..., spec.dset_bits :]
            ladders = rest.reshape(*rest.shape[:-1], -1, spec.ladder_steps)
            broken = (ladders[..., 1:] > ladders[..., :-1]).any(axis=(-2, -1))
            if broken.any():
                text = f"in a ladder of {spec.ladder_steps} steps a bit is set, and the one before it is not"
                raise self._at("observations", text, broken)

    def range_of_rewards(self, rewards: NDArray[np.float32]) -> None:
        """That ``rewards`` [agents, envs] or [agents, envs, steps] are finite and as small as announced."""
        if float(np.abs(rewards).max()) <= self.reward_limit:  # not so if there is a NaN
            return
        wrong: NDArray[np.bool_] = np.logical_not(np.abs(rewards) <= self.reward_limit)
        value = float(rewards[_first(wrong)])
        if math.isfinite(value):
            text = f"{value:g} is beyond {self.largest_reward:g}, the domain's largest_reward"
        else:
            text = f"{value} is not a finite number"
        raise self._at("rewards", text, wrong)

    def _at(self, field: str, text: str, wrong: Any) -> DomainError:
        """The first mistake of ``wrong``, [agents, envs] or [agents, envs, steps]."""
        row, _, *step = _first(wrong)
        return self.site.error(field, text, row, step[0] if step else None)

    def _array(self, field: str, value: Any, dtype: type, **axes: int) -> NDArray[Any]:
        """``value``, if its type, shape ([agents, envs, ``axes``]) and layout are right."""
        if type(value) is not np.ndarray:
            raise self.site.error(field, f"expected a NumPy array, got {type(value).__name__}")
        if value.dtype != dtype:
            raise self.site.error(field, f"expected {np.dtype(dtype)}, got {value.dtype}")
        shape = (len(self.site.agents), self.n_envs, *axes.values())
        if value.shape != shape:
            names = ", ".join(["agents", "envs", *axes])
            raise self.site.error(field, f"expected the shape {shape} [{names}], got {value.shape}")
        if not value.flags.c_contiguous:
            raise self.site.error(field, "expected a C-contiguous array: return np.ascontiguousarray(...)")
        return value


def _first(wrong: Any) -> tuple[int, ...]:
    """Indices of the first element that is not 0."""
    return tuple(int(k) for k in np.argwhere(wrong)[0])
