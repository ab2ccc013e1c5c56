"""Commands of a distributed run: ``init``, ``worker``, ``forget``, ``server``, ``supervise``."""

import os
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dials_async.cli.shared import log_as, log_option, metrics_option, numerics_option, settings_option
from dials_async.errors import UsageError

if TYPE_CHECKING:  # it takes a second to import
    from dials_async.distributed.daemon import Joining

run_option = click.option(
    "--run", "name", envvar="DIALS_RUN", required=True, help="The run.  [default: $DIALS_RUN]"
)


@click.command()
@click.argument("preset", required=False, envvar="DIALS_PRESET")
@run_option
@click.option(
    "--simulator",
    envvar="DIALS_SIMULATOR",
    type=click.Choice(["dials", "untrained", "gs"]),
    help="What to train on.  [default: dials]",
)
@click.option(
    "--steps", envvar="DIALS_STEPS", type=click.IntRange(1), help="Environment steps of each agent."
)
@click.option(
    "--seed", envvar="DIALS_SEED", type=click.IntRange(0), help="Seed of everything random.  [default: 1]"
)
@settings_option
@click.option(
    "--resume",
    "resumes",
    is_flag=True,
    help="Go on with a run: from Redis, else from its checkpoint on disk.",
)
@numerics_option
@click.option("--or-resume", is_flag=True, help="Make a new run, or go on with it if it exists.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=0.0, help="Seconds to wait for the servers."
)
def init(
    preset: str | None,
    name: str,
    simulator: str | None,
    steps: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    resumes: bool,
    allow_other_numerics: bool,
    or_resume: bool,
    wait_s: float,
) -> None:
    """Make a run in Redis and RabbitMQ, for 'dials worker' to train.

    The servers are $DIALS_REDIS_URL and $DIALS_AMQP_URL. Arguments left out are taken from $DIALS_PRESET,
    $DIALS_RUN, $DIALS_SIMULATOR, $DIALS_STEPS, $DIALS_SEED, and $DIALS_SET (settings, separated by spaces).

    \b
    Examples:
      dials init warehouse-25 --run city
      dials init --run city --resume                   # Redis lost everything: go on from the checkpoint
      dials init --run city --resume --steps 2000000   # a finished run goes on
    """
    from dials_async.config import load_config
    from dials_async.distributed import create

    from_environment = "DIALS_PRESET" in os.environ
    settings = (*os.environ.get("DIALS_SET", "").split(), *settings)
    config = None
    if preset is not None:
        given = {"simulator": simulator, "steps": steps, "seed": seed}
        config = load_config(preset, settings, {"run": {k: v for k, v in given.items() if v is not None}})
    create.wait_for_servers(wait_s, lambda text: click.echo(f"dials init: {text}", err=True))
    if resumes or (or_resume and create.exists(name)):
        if resumes and (preset or simulator or seed is not None or settings) and not from_environment:
            raise UsageError("--resume goes on with the run's own configuration: give --run and --steps only")
        notes = create.resume(
            name, None if resumes else config, steps if resumes else None, allow_other_numerics
        )
    elif config is None:
        raise UsageError("say what to train, for example 'dials init warehouse-4 --run demo'")
    else:
        notes = create.create(name, config)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if "HONCHO_PROCESS_NAME" in os.environ:  # which starts them
        click.echo(f"the run '{name}' is ready")
        return
    click.echo(f"the run '{name}' is ready; start its processes, on any host that reaches the servers:")
    for role in ("learner", "rollout", "gs-sampler", "evaluator", "keeper"):
        click.echo(f"  dials worker {role} --run {name}")


@click.group()
def worker() -> None:
    """Be one process of a distributed run; 'dials init' makes the run first.

    \b
    Example, each in a shell of its own or under a supervisor:
      dials worker learner --run city
      dials worker rollout --run city      # as many as there are cores to use
      dials worker gs-sampler --run city
      dials worker evaluator --run city
      dials worker keeper --run city       # progress, checkpoints and report in runs/city
    """


def _joins(function: Callable[..., None]) -> Callable[..., None]:
    """A process that joins a run: its options, handed over as one ``Joining``."""

    @wraps(function)
    def join(
        name: str,
        wait_s: float,
        label: str | None,
        allow_other_numerics: bool,
        metrics_address: str,
        log_format: str,
        **options: str | None,
    ) -> None:
        from dials_async.distributed.daemon import Joining, process_name

        label = label or process_name(function.__name__.replace("_", "-"))
        log_as(log_format, name, label)
        function(Joining(name, wait_s, label, allow_other_numerics, metrics_address), **options)

    wait = click.option(
        "--wait", "wait_s", type=click.FloatRange(0), default=0.0, help="Seconds to wait for servers and run."
    )
    label = click.option(
        "--name", "label", help="Of this process.  [default: honcho's name for it, or role and pid]"
    )
    return run_option(wait(label(numerics_option(metrics_option(log_option(join))))))


@worker.command()
@_joins
def rollout(joining: "Joining") -> None:
    """Step IALS (or the GS) for the learners: stateless, start and kill as many as you like."""
    from dials_async.distributed.daemon import serve
    from dials_async.distributed.roles import RolloutRole

    serve("rollout", joining, lambda link, _, me: RolloutRole(link, me))


@worker.command()
@_joins
@click.option(
    "--shard",
    envvar="DIALS_SHARD",
    metavar="INDEX/COUNT",
    help="Learn for the groups INDEX, INDEX + COUNT, ...  [default: share them with the other learners]",
)
def learner(joining: "Joining", shard: str | None) -> None:
    """Update policies from experience and commit them.

    Learners share the groups of the run evenly. To fix the share give --shard, or $DIALS_LEARNERS (how many
    there are) where the number of this one is in honcho's name for it (learner.1 is the first) or at the end
    of the host name, as in a pod of a stateful set (learner-0 is the first). One daemon per agent, as in
    the paper: rollout.agents_per_group = 1 and as many learners as agents.
    """
    from dials_async.distributed.daemon import serve
    from dials_async.distributed.learners import LearnerRole
    from dials_async.distributed.shard import this_shard

    fixed = this_shard(shard)
    serve("learner", joining, lambda link, leases, me: LearnerRole(link, leases, me, fixed))


@worker.command("gs-sampler")
@_joins
def gs_sampler(joining: "Joining") -> None:
    """Run the GS every F steps and retrain the AIPs; a second one stands by."""
    from dials_async.distributed import roles
    from dials_async.distributed.daemon import serve

    serve("gs-sampler", joining, lambda link, leases, _: roles.gs_sampler(link, leases))


@worker.command()
@_joins
def evaluator(joining: "Joining") -> None:
    """Evaluate the policies on the GS, beside training; a second one stands by."""
    from dials_async.distributed import roles
    from dials_async.distributed.daemon import serve

    serve("evaluator", joining, lambda link, leases, _: roles.evaluator(link, leases))


@worker.command()
@_joins
def keeper(joining: "Joining") -> None:
    """Show progress and keep runs/NAME: checkpoints, tables, report; ends when the run is complete."""
    from dials_async.distributed.daemon import serve
    from dials_async.distributed.keeper import Keeper

    command = "honcho start" if "HONCHO_PROCESS_NAME" in os.environ else shlex.join(["dials", *sys.argv[1:]])
    serve("keeper", joining, lambda link, leases, _: Keeper(link, leases, command))


@click.command()
@click.argument("name", metavar="RUN")
def forget(name: str) -> None:
    """Remove RUN from Redis and RabbitMQ. Its folder runs/RUN stays.

    Prometheus no longer looks for its processes: also those of a run of 'dials train' that was killed, which
    needs no Redis.

    \b
    Example:
      dials forget city
    """
    from dials_async.distributed.create import forget as remove

    remove(name)
    click.echo(f"removed '{name}' from Redis and RabbitMQ")


@click.command()
@click.argument("kind", type=click.Choice(["rabbitmq", "redis", "prometheus"]))
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Data and log.  [default: runs/.servers/KIND]"
)
def server(kind: str, folder: Path | None) -> None:
    """Run a private RabbitMQ, Redis or Prometheus in the foreground, on loopback (what the Procfile starts).

    Ports: $DIALS_PORT_AMQP, $DIALS_PORT_REDIS and $DIALS_PORT_PROMETHEUS. Where $DIALS_AMQP_URL or
    $DIALS_REDIS_URL names a server that runs already, nothing is started. RabbitMQ serves its metrics at
    $DIALS_PORT_AMQP_METRICS. Prometheus reads monitoring/prometheus.yml of the working directory.

    \b
    Example:
      dials server redis
      dials server prometheus
      DIALS_PORT_AMQP=17672 dials server rabbitmq
    """
    from dials_async.servers.foreground import run_in_foreground

    raise SystemExit(run_in_foreground(kind, folder))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--leads", is_flag=True, help="End when COMMAND is done, instead of waiting to be stopped.")
@click.option("--spared", is_flag=True, help="Wait, doing nothing, when COMMAND cannot work (exit code 2).")
@log_option
def supervise(name: str, command: tuple[str, ...], leads: bool, spared: bool, log_format: str) -> None:
    """Run COMMAND, and start it again when it dies (what each line of the Procfile runs under).

    \b
    Example:
      dials supervise rollout -- dials worker rollout --run city
    """
    from dials_async.logs import Stamp
    from dials_async.supervise import supervise as watch_over

    label = os.environ.get("HONCHO_PROCESS_NAME", name)
    stamp = Stamp(log_format, os.environ.get("DIALS_RUN", ""), label)
    raise SystemExit(watch_over(command, label, ends_with_child=leads, is_spared=spared, stamp=stamp))
