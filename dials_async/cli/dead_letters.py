"""``dials dead-letters``: messages that were rejected."""

import json

import click

from dials_async.cli.shared import json_option
from dials_async.errors import UsageError


@click.command("dead-letters")
@click.argument("name", metavar="RUN", envvar="DIALS_RUN")
@click.option(
    "--show", type=click.IntRange(0), default=0, metavar="N", help="Show the fields of the newest N, too."
)
@click.option("--oldest", is_flag=True, help="Show those of the oldest.")
@click.option("--requeue", is_flag=True, help="Put all of them back into the queues that they came from.")
@click.option("--drop", is_flag=True, help="Delete all of them.")
@json_option
def dead_letters(name: str, show: int, oldest: bool, requeue: bool, drop: bool, as_json: bool) -> None:
    """Show which messages of RUN were rejected, and why; put them back, or delete them.

    \b
    Examples:
      dials dead-letters city
      dials dead-letters city --show 3
      dials dead-letters city --requeue    # what was wrong is mended
      dials dead-letters city --drop
    """
    from dials_async.distributed import dead_letters as letters

    if requeue and drop:
        raise UsageError("--requeue and --drop exclude each other: choose one")
    result = letters.look(name, show, oldest, requeue, drop)
    click.echo(json.dumps(result, indent=2) if as_json else letters.in_words(result))
