"""Who took part in a run: what each process's arithmetic computes (its numerics), its code, its processor.

Kept as records, so that they outlive the processes and are in every checkpoint. What the first one of a part
computed is the run's; whoever computes anything else has no part in it, unless that is allowed.
"""

from collections.abc import Mapping
from typing import Any

from dials_async.errors import NumericsError
from dials_async.store.base import Store

_KIND = "participants"

#: The numerics of a run in which nobody has said what they compute.
UNKNOWN = "unknown"


class Participants:
    """The participants of the run in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[dict[str, Any]]:
        """In order of arrival: part, numerics, code, processor, role, host; same: whether as the run's."""
        return self._store.records(_KIND)

    def of_run(self, part: str) -> str:
        """The run's numerics of ``part``, UNKNOWN if nobody has joined."""
        return next((row["numerics"] for row in self.all() if row["part"] == part), UNKNOWN)

    def accepted(self, part: str) -> frozenset[str]:
        """The numerics of ``part`` that may contribute to the run: its own, and those that were allowed."""
        return frozenset(row["numerics"] for row in self.all() if row["part"] == part) or frozenset({UNKNOWN})

    def not_reproducible(self) -> str:
        """Why the result of the run cannot be had again; "" if it can."""
        others = {f"{row['role']} on {row['host']}" for row in self.all() if not row["same"]}
        return (
            f"not reproducible: {', '.join(sorted(others))} computed otherwise than the run" if others else ""
        )

    def join(self, numerics: Mapping[str, str], facts: Mapping[str, str], allow_others: bool) -> None:
        """Enter who computes ``numerics``, by part; ``facts`` are its code, processor, role and host.

        Raises NumericsError, and enters nothing, if the run computes otherwise and that is not allowed, now
        or earlier.
        """
        known = self.all()
        firsts = {row["part"]: row for row in reversed(known)}
        others = [part for part in numerics if part in firsts and firsts[part]["numerics"] != numerics[part]]
        strange = [part for part in others if numerics[part] not in self.accepted(part)]
        if strange and not allow_others:
            raise NumericsError(_refusal(strange, numerics, firsts, facts))
        for part, found in numerics.items():
            record = {"part": part, "numerics": found, **facts, "same": part not in others}
            key = " ".join([part, found, *(facts[name] for name in sorted(facts))])
            self._store.append_record(_KIND, {"id": key, **record})


def _refusal(
    parts: list[str],
    numerics: Mapping[str, str],
    firsts: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, str],
) -> str:
    first = firsts[parts[0]]
    differences = [f"{part} {numerics[part]}, not {firsts[part]['numerics']}" for part in parts]
    differences += [
        f"{what} {facts[what]}, not {first[what]}"
        for what in ("code", "processor")
        if facts[what] != first[what]
    ]
    return (
        f"this process computes otherwise than the run ({'; '.join(differences)}): results would depend "
        "on who did what. Give it the code, libraries and domain that the run was made with, or accept "
        "it with --allow-other-numerics, which marks the run as not reproducible"
    )
