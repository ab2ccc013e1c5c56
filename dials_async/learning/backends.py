"""Which PPO update a run asks for: ours, or the one in torch, which is installed only where it is wanted."""

from collections.abc import Callable

from dials_async.errors import ConfigError
from dials_async.learning import ppo


def update_of(backend: str) -> Callable[..., int]:
    """The update of ``ppo.backend``. Raises ConfigError where torch is asked for and not installed."""
    if backend != "torch":
        return ppo.update_agent
    try:
        from dials_async.learning import ppo_torch  # seconds to import: only where it is asked for
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ConfigError(
            "ppo.backend = 'torch' needs torch, which is not installed: pip install 'dials-async[torch]'"
        ) from None
    return ppo_torch.update_agent
