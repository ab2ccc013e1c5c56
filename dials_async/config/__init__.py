"""The configuration of a run: what can be set, what it means, and the checks before anything starts."""

from dials_async.config.loading import config_from_dict, load_config, preset_names, read_preset
from dials_async.config.sections import (
    SIMULATORS,
    Aip,
    Config,
    Parity,
    Policy,
    Ppo,
    Rollout,
    Run,
    Runtime,
    Schedule,
)

__all__ = [
    "SIMULATORS",
    "Aip",
    "Config",
    "Parity",
    "Policy",
    "Ppo",
    "Rollout",
    "Run",
    "Runtime",
    "Schedule",
    "config_from_dict",
    "load_config",
    "preset_names",
    "read_preset",
]
