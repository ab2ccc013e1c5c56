"""From a preset, a TOML file and ``--set section.key=value`` to a checked Config; errors name the key.

A preset is a TOML file with the sections of ``sections.py``. Tables under ``[for.gs]`` and
``[for.untrained]`` apply only to that simulator, so that each is given fair settings.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from dials_async.config.sections import SECTIONS, SIMULATORS, Config, check
from dials_async.errors import ConfigError


def preset_names() -> list[str]:
    """Names of the presets that come with the package, smallest system first."""
    files = [Path(entry.name) for entry in resources.files("dials_async.presets").iterdir()]
    names = [file.stem for file in files if file.suffix == ".toml"]
    return sorted(names, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def read_preset(name: str) -> dict[str, Any]:
    """The tables of a preset, or of a TOML file of the user's own. Raises ConfigError."""
    if name in preset_names():
        text = resources.files("dials_async.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read the preset file {name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name} is not valid TOML: {error}") from error
    else:
        raise ConfigError(
            f"unknown preset '{name}'{_nearest(name, preset_names())}; 'dials presets' lists them"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error


def load_config(
    preset: str, settings: Sequence[str] = (), overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """Resolve a preset, its simulator's tables, ``overrides``, and ``settings`` ("section.key=value").

    Raises ConfigError that names the key, and the nearest known one.
    """
    tables = read_preset(preset)
    special = tables.pop("for", {})
    changes = [(section, dict(values)) for section, values in (overrides or {}).items()]
    changes += [_parse_setting(text) for text in settings]
    by_simulator = _check_special(special)
    simulator = next((v["simulator"] for s, v in reversed(changes) if s == "run" and "simulator" in v), None)
    if simulator is None:
        run = tables.get("run")
        simulator = run.get("simulator", "dials") if isinstance(run, Mapping) else "dials"
    known = by_simulator.get(simulator, {}) if isinstance(simulator, str) else {}
    for section, values in (*known.items(), *changes):
        table = tables.setdefault(section, {})
        check(isinstance(table, dict), f"[{section}] must be a table")
        table.update(values)
    return config_from_dict({**tables, "preset": preset})


def _check_special(special: Any) -> Mapping[str, Mapping[str, Any]]:
    """The tables under [for]; those of simulators that are not used now are checked too."""
    check(isinstance(special, Mapping), "[for] must hold tables such as [for.gs.ppo]")
    for simulator, sections in special.items():
        check(
            simulator in SIMULATORS,
            f"unknown simulator in [for.{simulator}]{_nearest(simulator, SIMULATORS)}",
        )
        check(isinstance(sections, Mapping), f"[for.{simulator}] must hold tables")
        for section, values in sections.items():
            check(section in SECTIONS, f"unknown section '{section}'{_nearest(section, list(SECTIONS))}")
            _build(section, SECTIONS[section], values)
    checked: Mapping[str, Mapping[str, Any]] = special
    return checked


def config_from_dict(tables: Mapping[str, Any]) -> Config:
    """Build and check a configuration from plain data. Raises ConfigError."""
    known = ["preset", "domain", *SECTIONS]
    for section in tables:
        check(section in known, f"unknown section '{section}'{_nearest(section, known)}")
    domain = tables.get("domain")
    check(isinstance(domain, Mapping) and isinstance(domain.get("name"), str), "domain.name is missing")
    sections = {name: _build(name, kind, tables.get(name, {})) for name, kind in SECTIONS.items()}
    return Config(preset=str(tables.get("preset", "")), domain=dict(domain or {}), **sections)


def _build(section: str, kind: type, values: Any) -> Any:
    check(isinstance(values, Mapping), f"[{section}] must be a table")
    hints = get_type_hints(kind)
    checked = {}
    for key, value in values.items():
        check(key in hints, f"unknown key '{section}.{key}'{_nearest(key, list(hints))}")
        checked[key] = _convert(f"{section}.{key}", hints[key], value)
    return kind(**checked)


def _convert(name: str, wanted: Any, value: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if get_origin(wanted) is tuple:
        check(
            isinstance(value, list | tuple) and all(type(item) is get_args(wanted)[0] for item in value),
            f"{name} = {value!r}: must be a list of integers",
        )
        return tuple(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    check(type(value) is wanted, f"{name} = {value!r}: must be of type {wanted.__name__}")
    check(wanted is not float or math.isfinite(value), f"{name} = {value!r}: must be a finite number")
    return value


def _parse_setting(text: str) -> tuple[str, dict[str, Any]]:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    check(
        bool(equals and dot and section and key) and section != "preset",
        f"--set {text}: write section.key=value",
    )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string
    return section, {key: parsed}


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean '{close[0]}'?" if close else ""
