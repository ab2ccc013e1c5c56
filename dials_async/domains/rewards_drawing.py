"""The drawing of an episode for a domain without one of its own: a square for each agent's reward."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import Scene, SceneRecorder


class RewardsDrawing(SceneRecorder):
    """Rewards of all agents, step by step; colours run from the least to the greatest of the episode."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._rewards: list[NDArray[np.float32]] = []  # [agents] of each step

    def capture(self, simulator: Any, rewards: NDArray[np.float32] | None) -> None:  # noqa: ARG002
        """Keep the rewards of env 0; ``simulator`` stays unknown."""
        if rewards is not None:
            self._rewards.append(rewards[:, 0].copy())

    def scene(self) -> Scene:
        """The drawing of all steps so far."""
        rewards = np.array(self._rewards)
        n_agents = rewards.shape[1] if rewards.size else 1
        side = math.ceil(math.sqrt(n_agents))
        least, greatest = (float(rewards.min()), float(rewards.max())) if rewards.size else (0.0, 0.0)
        width = greatest - least or 1.0
        frames: list[dict[str, Any]] = [{"movers": [], "marks": [], "text": "start"}]
        for step, paid in enumerate(rewards):
            marks = [
                [k % side + 0.5, k // side + 0.5, "agent", (float(reward) - least) / width]
                for k, reward in enumerate(paid)
            ]
            frames.append({"movers": [], "marks": marks, "text": f"step {step + 1}"})
        return {
            "title": f"{self._title}: rewards of the agents",
            "width": side,
            "height": math.ceil(n_agents / side),
            "background": [],
            "styles": {"agent": {"shape": "square", "size": 0.9, "ramp": ["#e8eef4", "#1f6fb2"]}},
            "frames": frames,
            "legend": [{"style": "agent", "label": "reward", "range": [f"{least:g}", f"{greatest:g}"]}],
        }
