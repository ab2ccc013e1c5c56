"""The command line ``dials``: one module for each kind of commands.

Everything heavy is imported inside the commands: ``dials --help`` answers at once.
"""

import click

from dials_async import __version__
from dials_async.cli import (
    dashboard,
    dead_letters,
    distributed,
    experiment,
    look,
    measure,
    train,
    validate,
)
from dials_async.cli.shared import OneLineErrors, debug_option


@click.group(cls=OneLineErrors)
@click.version_option(__version__, prog_name="dials")
def main() -> None:
    """Train large networks of agents on distributed influence-augmented local simulators (DIALS).

    \b
    Start here:
      dials presets                 what can be trained
      dials train warehouse-4       train it (under a minute on two cores), report in runs/
    """


for command in (
    *(
        train.presets,
        train.train,
        train.warmup,
        look.evaluate,
        look.report,
        measure.check_vectors,
        measure.bench,
    ),
    *(distributed.init, distributed.worker, look.status, distributed.forget),
    dead_letters.dead_letters,
    experiment.experiment,
    *(distributed.server, distributed.supervise, validate.validate, dashboard.dashboard),
):
    main.add_command(command)


def _offer_debug(command: click.Command) -> None:
    command.params.append(debug_option)
    if isinstance(command, click.Group):
        for part in command.commands.values():
            _offer_debug(part)


_offer_debug(main)
