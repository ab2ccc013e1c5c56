"""Finding a domain by its name: Python entry points "dials_async.domains", so that packages can ship one."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from dials_async.cache import DOMAINS
from dials_async.domains.checked import CheckedDomain
from dials_async.domains.checks import Site
from dials_async.errors import ConfigError


def make_domain(table: Mapping[str, Any]) -> CheckedDomain:
    """Build the domain ``table["name"]`` with the other entries as its options, behind checks.

    Raises ConfigError; DomainError if its code fails.
    """
    factory, options = _checked(table)
    with Site(table["name"], factory.__module__.partition(".")[0]):
        domain = factory(**options)
    return CheckedDomain(domain)


def machine_options(table: Mapping[str, Any]) -> Sequence[str]:
    """Options of the domain ``table["name"]`` that say how it is simulated on a machine, never what.

    Results do not depend on them. A domain names them in its attribute ``machine_options``, if it has any.
    Raises ConfigError.
    """
    return tuple(getattr(_factory(table["name"]), "machine_options", ()))


def result_options(table: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``table`` that results depend on. Raises ConfigError."""
    _, options = _checked(table)
    free = machine_options(table)
    return {"name": table["name"], **{key: value for key, value in options.items() if key not in free}}


def _factory(name: str) -> Any:
    found = {entry.name: entry for entry in entry_points(group=DOMAINS)}
    if name not in found:
        raise ConfigError(f"unknown domain '{name}'; installed are {', '.join(sorted(found)) or 'none'}")
    with Site(name, found[name].module.partition(".")[0]):
        return found[name].load()


def _checked(table: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What builds the domain, and its options, of the types that it wants."""
    options = dict(table)
    name = options.pop("name")
    factory = _factory(name)
    known = dict(inspect.signature(factory).parameters)
    for key, value in options.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise ConfigError(f"unknown key 'domain.{key}': {hint}{name} has {', '.join(known)}")
        wanted = known[key].annotation
        if wanted is float and type(value) is int:  # TOML tells 1 from 1.0, who writes it need not
            options[key] = float(value)
        elif isinstance(wanted, type) and type(value) is not wanted:
            raise ConfigError(f"domain.{key} = {value!r}: must be of type {wanted.__name__}")
    return factory, options
