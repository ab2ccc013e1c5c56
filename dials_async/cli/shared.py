"""What commands have in common: one-line errors, and the options that several of them take."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from dials_async.errors import DialsError
from dials_async.listening import METRICS_ADDRESS
from dials_async.logs import FORMATS, TEXT, Stamp, report, stamped

#: Where a context says that tracebacks are wanted.
_DEBUG = "dials_async.debug"


def _set_debug(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.meta[_DEBUG] = True


#: Of every command, before and after its name.
debug_option = click.Option(
    ["--debug"],
    is_flag=True,
    envvar="DIALS_DEBUG",
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error, too.  [default: $DIALS_DEBUG]",
)

numerics_option = click.option(
    "--allow-other-numerics",
    is_flag=True,
    envvar="DIALS_ALLOW_OTHER_NUMERICS",
    help="Take part even if this computes otherwise than the run, which is then not reproducible.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

settings_option = click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable."
)

metrics_option = click.option(
    "--metrics-address",
    envvar="DIALS_METRICS_ADDRESS",
    default=METRICS_ADDRESS,
    metavar="HOST:PORT|off",
    help="Where this process serves /metrics for Prometheus; 'off' counts nothing.  "
    "[default: $DIALS_METRICS_ADDRESS, else any free port on loopback]",
)


log_option = click.option(
    "--log-format",
    envvar="DIALS_LOG_FORMAT",
    type=click.Choice(FORMATS),
    default=TEXT,
    help="Lines with the time, or one JSON object a line.  [default: $DIALS_LOG_FORMAT, else text]",
)


def log_as(log_format: str, run: str, process: str) -> None:
    """From now on, until the command ends, this process says everything in that format."""
    click.get_current_context().find_root().with_resource(stamped(Stamp(log_format, run, process)))


class OneLineErrors(click.Group):
    """Turns errors, the project's and click's, into one line and an exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Group."""
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """See click.Group."""
        with _one_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # asks for help, and click gives it
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "dials"
        message = " ".join(error.format_message().split()).rstrip(".")
        click.echo(f"dials: {message} (see '{command} --help')", err=True)
        ctx.exit(error.exit_code)
    except DialsError as error:
        if _DEBUG in ctx.meta:
            traceback.print_exception(error)
        report(f"dials: {error}", type(error).__name__)
        ctx.exit(error.exit_code)
