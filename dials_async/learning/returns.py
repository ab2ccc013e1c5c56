"""Value targets and advantages: GAE(lambda), with a V-trace-style correction for old experience."""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.arithmetic import square_root
from dials_async.kernels.compile import jit

Floats = NDArray[np.float32]


@jit
def value_targets(
    rewards: Floats,  # [episodes, steps]
    values: Floats,  # [episodes, steps + 1], of the present critic; the last one is of the last observation
    terminated: NDArray[np.uint8],  # [episodes]: 1 = ended by the task, 0 = cut off at the time limit
    ratios: Floats,  # [episodes, steps], present policy / behaviour policy; exactly 1 at lag 0
    gamma: float,
    lam: float,
    advantages: Floats,  # [episodes, steps], out
    targets: Floats,  # [episodes, steps], out
) -> None:
    """Advantages and value targets of whole episodes.

    With rho = c = min(1, ratio) (Espeholt et al., 2018, eq. 1, with lambda)::

        x_t = rho_t delta_t + gamma lambda c_t x_{t+1},   delta_t = r_t + gamma v_{t+1} - v_t
        target_t = v_t + x_t,   advantage_t = delta_t + gamma lambda x_{t+1}

    Where every ratio is 1 this is GAE(lambda) exactly (Schulman et al., 2016, eq. 16). The advantage does
    not carry rho_t: the objective weighs the action itself (``dials_async.learning.objective``).
    A truncated episode bootstraps from the value of its last observation, a terminated one from 0.
    """
    n_steps = rewards.shape[1]
    discount, decay = np.float32(gamma), np.float32(gamma * lam)
    one = np.float32(1.0)
    for e in range(rewards.shape[0]):
        carried = np.float32(0.0)
        for t in range(n_steps - 1, -1, -1):
            after = values[e, t + 1]
            if t == n_steps - 1 and terminated[e]:
                after = np.float32(0.0)
            delta = rewards[e, t] + discount * after - values[e, t]
            rho = ratios[e, t] if ratios[e, t] < one else one
            advantages[e, t] = delta + decay * carried
            carried = rho * (delta + decay * carried)
            targets[e, t] = values[e, t] + carried


@jit
def moments(x: Floats) -> tuple[float, float]:
    """Mean and variance of ``x`` [episodes, steps], in float64 and in its order."""
    total, squares = 0.0, 0.0
    for e in range(x.shape[0]):
        for t in range(x.shape[1]):
            total += x[e, t]
    mean = total / x.size
    for e in range(x.shape[0]):
        for t in range(x.shape[1]):
            squares += (x[e, t] - mean) * (x[e, t] - mean)
    return mean, squares / x.size


@jit
def normalise(x: Floats) -> None:
    """Shift and scale ``x`` [episodes, steps] to mean 0 and standard deviation 1, in place."""
    mean, variance = moments(x)
    scale = 1.0 / (square_root(variance) + 1e-8)
    for e in range(x.shape[0]):
        for t in range(x.shape[1]):
            x[e, t] = (x[e, t] - mean) * scale
