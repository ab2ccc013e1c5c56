"""Finding a domain by its name: Python entry points "dials_async.domains", so that packages can ship one."""

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from dials_async.domains.base import Domain
from dials_async.errors import ConfigError

ENTRY_POINTS = "dials_async.domains"


def make_domain(table: Mapping[str, Any]) -> Domain:
    """Build the domain ``table["name"]`` with the other entries as its options. Raises ConfigError."""
    options = dict(table)
    name = options.pop("name")
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise ConfigError(f"unknown domain '{name}'; installed are {', '.join(sorted(found)) or 'none'}")
    factory = found[name].load()
    known = dict(inspect.signature(factory).parameters)
    for key, value in options.items():
        if key not in known:
            raise ConfigError(f"unknown key 'domain.{key}': {name} has {', '.join(known)}")
        wanted = known[key].annotation
        if isinstance(wanted, type) and type(value) is not wanted:
            raise ConfigError(f"domain.{key} = {value!r}: must be of type {wanted.__name__}")
    domain: Domain = factory(**options)
    return domain
