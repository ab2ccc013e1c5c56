"""networks.json: all that is needed to use a run's networks from its checkpoints, without this package.

docs/files.md says how, with a program that a test runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_async.groups import Group
from dials_async.networks.layout import GRU, Shape, blocks, n_parameters

#: Of the file; another one when a field changes its meaning.
FORMAT = 1


def describe(groups: Sequence[Group]) -> dict[str, Any]:
    """Sizes and layout of the networks of all groups."""
    return {"format": FORMAT, "groups": [_group(group) for group in groups]}


def _group(group: Group) -> dict[str, Any]:
    spec = group.spec
    return {
        "group": group.index,
        "agents": list(group.agents),
        "observation_bits": spec.observation_bits,
        "dset_bits": spec.dset_bits,
        "actions": spec.n_actions,
        "sources": spec.n_sources,
        "classes": spec.n_classes,
        "actor": _network(group.actor, 0),
        "critic": _network(group.critic, group.n_actor),
        "aip": _network(group.aip, 0),
    }


def _network(shape: Shape, first: int) -> dict[str, Any]:
    """Where its parameters are in a row, ``first`` that of the first one."""
    layout, at = {}, first
    for name, size in blocks(shape).items():
        layout[name] = {"first": at, "shape": list(size)}
        at += int(np.prod(size))
    return {
        "kind": "gru" if shape.kind == GRU else "mlp",
        "inputs": shape.n_in,
        "outputs": shape.n_out,
        "off": -1.0 if shape.signed else 0.0,
        "on": 1.0,
        "hidden": shape.h2 if shape.kind == GRU else 0,
        "first": first,
        "parameters": n_parameters(shape),
        "blocks": layout,
    }
