"""``dials validate``: whether a local simulator does what the simulator of the whole system does."""

import json

import click

from dials_async.cli.shared import json_option


@click.command()
@click.argument("domain", type=click.Choice(["traffic"]))
@click.option(
    "--episodes", type=click.IntRange(1, 1000), default=2, show_default=True, help="Of each scenario."
)
@click.option("--replays", type=click.IntRange(0, 1000), default=4, show_default=True, help="GS episodes.")
@click.option("--side", type=click.IntRange(1, 10), default=3, show_default=True, help="Of the GS's grid.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--sumo-version", default=None, help="Accept this version of SUMO.")
@json_option
def validate(
    domain: str,  # noqa: ARG001  # there is one so far
    episodes: int,
    replays: int,
    side: int,
    seed: int,
    sumo_version: str | None,
    as_json: bool,
) -> None:
    """Compare the compiled local simulator with SUMO, then with the whole grid.

    First the same local episodes in both, car by car: nothing may differ. Then influence replay: the cars
    that entered an intersection in an episode of the grid are fed to the local simulator; the share of bits
    of occupancy that differ says how much is lost because u does not tell where and how fast a car enters.

    \b
    Examples:
      dials validate traffic                      6,000 cars, about ten seconds
      dials validate traffic --episodes 20        60,000 cars
      dials validate traffic --sumo-version 1.29.0
    """
    import numpy as np

    from dials_async.domains.traffic.domain import Traffic
    from dials_async.domains.traffic.installation import SUMO_VERSION, find_sumo
    from dials_async.domains.traffic.replay import as_text, replay
    from dials_async.domains.traffic.sumo_link import SumoLink
    from dials_async.domains.traffic.validate import validate as compare

    version = sumo_version or SUMO_VERSION
    sumo = find_sumo(version)
    compared = compare(SumoLink(sumo).api, sumo, episodes, seed)
    if not as_json:
        click.echo(compared.as_text())
    grid = Traffic(side, sumo_version=version)
    seeds = np.arange(seed, seed + replays, dtype=np.uint64)
    policies = ("random", "sotl", "fixed-time") if replays else ()
    replayed = [replay(grid, policy, seeds) for policy in policies]
    if as_json:
        click.echo(
            json.dumps({"local": compared.as_dict(), "replay": [row.as_dict() for row in replayed]}, indent=2)
        )
    elif replayed:
        click.echo(f"\nInfluence replay, {side} x {side} lights:\n\n{as_text(replayed)}")
    if not compared.is_exact:
        raise SystemExit(1)
