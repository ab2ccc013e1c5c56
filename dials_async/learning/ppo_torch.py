"""Independent PPO in torch: the same update as ``ppo.py``, to read, to check it against, to build on.

Select it with ``--set ppo.backend=torch``: slower, and equal within rounding. One agent at a time, float32,
one thread; every minibatch holds the same samples as in the compiled update.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from dials_async.kernels.bits import unpack
from dials_async.kernels.compile import Scalar
from dials_async.kernels.rng import shuffled
from dials_async.learning.objective import MAX_IMPORTANCE_WEIGHT
from dials_async.learning.scratch import Scratch
from dials_async.learning.settings import Settings
from dials_async.networks.layout import MLP, Shape, blocks

torch.set_num_threads(1)


def network(
    shape: Shape, parameters: Tensor, inputs: Tensor, hidden: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Outputs and, for a GRU, hidden states of every step; see ``networks.network`` for the two kinds.

    Args:
        shape: of the network.
        parameters: [parameters], as laid out by ``blocks``.
        inputs: 0 / 1, [steps, sequences, bits].
        hidden: before the first step, [sequences, h2]; None for an MLP.

    Returns:
        [steps, sequences, n_out] and [steps + 1, sequences, h2] or None.
    """
    p, start = {}, 0
    for name, size in blocks(shape).items():
        stop = start + int(np.prod(size))
        p[name] = parameters[start:stop].reshape(size)
        start = stop
    x = 2 * inputs - 1 if shape.signed else inputs
    if shape.h1:
        x = torch.tanh(x @ p["w1"] + p["b1"])
    if shape.kind == MLP:
        if shape.h2:
            x = torch.tanh(x @ p["w2"] + p["b2"])
        return x @ p["wo"] + p["bo"], None
    assert hidden is not None
    from_input = (x @ p["wx"] + p["bx"]).chunk(3, dim=-1)
    states = [hidden]
    for t in range(len(x)):
        h = states[-1]
        r_h, z_h, n_h = (h @ p["wh"]).chunk(3, dim=-1)
        r = torch.sigmoid(from_input[0][t] + r_h)
        z = torch.sigmoid(from_input[1][t] + z_h)
        n = torch.tanh(from_input[2][t] + r * (n_h + p["bn"]))
        states.append((1 - z) * n + z * h)
    hidden_states = torch.stack(states)
    return hidden_states[1:] @ p["wo"] + p["bo"], hidden_states


def objective(
    logits: Tensor,  # [samples, actions]
    values: Tensor,  # [samples]
    actions: Tensor,  # [samples]
    proximal: Tensor,  # [samples]: log-probability under the policy at the start of the update
    ratios: Tensor,  # [samples]: that policy / behaviour policy; 1 at lag 0
    advantages: Tensor,  # [samples]
    targets: Tensor,  # [samples]
    s: Settings,
) -> tuple[Tensor, Tensor]:
    """The loss of one minibatch, decoupled PPO (Hilton et al., 2022, eq. 2) - entropy bonus + value loss.

    Of these, the loss of the policy alone comes second.
    """
    log_p = log_softmax(logits, dim=-1)
    ratio = torch.exp(log_p.gather(1, actions[:, None]).squeeze(1) - proximal)
    gain = ratios.clamp(max=MAX_IMPORTANCE_WEIGHT) * advantages
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - s.clip, 1 + s.clip) * gain)
    entropy = -(log_p.exp() * log_p).sum(dim=-1)
    value_loss = 0.5 * (values - targets) ** 2
    policy_loss = -surrogate.mean()
    return policy_loss - s.entropy * entropy.mean() + s.value_coefficient * value_loss.mean(), policy_loss


def targets_and_advantages(
    rewards: Tensor, values: Tensor, terminated: Tensor, ratios: Tensor, s: Settings
) -> tuple[Tensor, Tensor]:
    """Value targets and advantages as ``returns.value_targets`` defines them; all [episodes, steps (+ 1)]."""
    after = values[:, 1:].clone()
    after[:, -1] *= 1 - terminated
    delta = rewards + s.gamma * after - values[:, :-1]
    rho = ratios.clamp(max=1.0)
    carried = torch.zeros(len(rewards))
    corrections, advantages = torch.zeros_like(rewards), torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        advantages[:, t] = delta[:, t] + s.gamma * s.lam * carried
        carried = rho[:, t] * advantages[:, t]
        corrections[:, t] = carried
    return values[:, :-1] + corrections, advantages


def update_agent(
    actor: Shape,
    critic: Shape,
    n_actor: int,
    parameters: NDArray[np.float32],
    adam_m: NDArray[np.float32],
    adam_v: NDArray[np.float32],
    adam_steps: int,
    observations: NDArray[np.uint8],
    actions: NDArray[np.uint8],
    rewards: NDArray[np.float32],
    log_probs: NDArray[np.float32],
    terminated: NDArray[np.uint8],
    lagged: bool,
    s: Settings,
    learning_rate: float,
    seed: Scalar,
    scratch: Scratch,  # noqa: ARG001 - the compiled update's, so that the two can be exchanged
    health: NDArray[np.float64],
) -> int:
    """Update one agent in place; arguments and result as ``ppo.update_agent``. Reports the losses only."""
    inputs = torch.from_numpy(
        unpack(observations, actor.n_in).astype(np.float32)
    )  # [episodes, steps + 1, bits]
    n_episodes, n_steps = actions.shape
    theta = torch.from_numpy(parameters.copy()).requires_grad_()
    taken = torch.from_numpy(actions.astype(np.int64))
    behaviour = torch.from_numpy(log_probs.copy())

    with torch.no_grad():
        zero = {size: torch.zeros(n_episodes, size) for size in {actor.h2, critic.h2}}
        over_time = inputs.transpose(0, 1)
        values, critic_hidden = network(critic, theta[n_actor:], over_time, zero[critic.h2])
        logits, actor_hidden = network(actor, theta[:n_actor], over_time, zero[actor.h2])
        values = values.squeeze(-1).T
        proximal, ratios = behaviour, torch.ones_like(behaviour)
        if lagged:
            log_p = log_softmax(logits[:-1].transpose(0, 1), dim=-1)
            proximal = log_p.gather(2, taken[:, :, None]).squeeze(2)
            ratios = torch.exp(proximal - behaviour)
        ended = torch.from_numpy(terminated.astype(np.float32))
        targets, advantages = targets_and_advantages(
            torch.from_numpy(rewards.copy()), values, ended, ratios, s
        )
        advantages = (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-8)

    optimiser = torch.optim.Adam([theta], lr=learning_rate, betas=(0.9, 0.999), eps=s.adam_epsilon)
    optimiser.state[theta] = {
        "step": torch.tensor(float(adam_steps)),
        "exp_avg": torch.from_numpy(adam_m.copy()),
        "exp_avg_sq": torch.from_numpy(adam_v.copy()),
    }
    length = s.sequence_steps
    per_episode = -(-n_steps // length)
    per_minibatch = max(1, s.minibatch_steps // length)
    order = np.arange(n_episodes * per_episode, dtype=np.int32)
    stream = np.array([seed], dtype=np.uint64)
    losses = []
    for _ in range(s.epochs):
        shuffled(order, stream)
        for start in range(0, len(order), per_minibatch):
            chunk = order[start : start + per_minibatch].astype(np.int64)
            episode, first = chunk // per_episode, (chunk % per_episode) * length
            t = first[None, :] + np.arange(length)[:, None]  # [length, sequences]
            e = np.broadcast_to(episode, t.shape)
            inside = torch.from_numpy(t < n_steps)
            x = inputs[torch.from_numpy(e.copy()), torch.from_numpy(np.minimum(t, n_steps))]
            logits, _ = network(actor, theta[:n_actor], x, _start(actor_hidden, first, episode))
            predicted, _ = network(critic, theta[n_actor:], x, _start(critic_hidden, first, episode))
            e, t = e[inside.numpy()], t[inside.numpy()]
            loss, policy_loss = objective(
                logits[inside],
                predicted[inside].squeeze(-1),
                taken[e, t],
                proximal[e, t],
                ratios[e, t],
                advantages[e, t],
                targets[e, t],
                s,
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([theta], s.max_gradient_norm)
            optimiser.step()
            losses.append(policy_loss.item())
    state: Any = optimiser.state[theta]
    parameters[:] = theta.detach().numpy()
    adam_m[:], adam_v[:] = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
    health[:] = np.nan
    health[0] = float(np.mean(losses))
    return int(state["step"].item())


def _start(hidden: Tensor | None, first: NDArray[np.int64], episode: NDArray[np.int64]) -> Tensor | None:
    return None if hidden is None else hidden[first, episode]
