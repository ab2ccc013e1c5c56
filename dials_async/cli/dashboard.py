"""``dials dashboard``: a page that shows a run while it trains."""

import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dials_async.errors import RunNotFoundError
from dials_async.listening import DASHBOARD_ADDRESS

if TYPE_CHECKING:
    from dials_async.distributed.watch import RunWatcher


@click.command()
@click.argument("run", required=False)
@click.option(
    "--address",
    default=DASHBOARD_ADDRESS,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to serve it; port 0: a free one.",
)
@click.option("--no-browser", is_flag=True, help="Open no browser.")
def dashboard(run: str | None, address: str, no_browser: bool) -> None:
    """Show RUN live in the browser: throughput, returns, influence, policy lag, queues, processes.

    Without RUN it is the one that was trained last. Finished runs are shown too. The page needs nothing but
    this command, and the run does not notice it. A distributed run whose folder is on another host is looked
    at through $DIALS_REDIS_URL and $DIALS_AMQP_URL.

    \b
    Examples:
      dials dashboard
      dials dashboard demo --address :0         # any free port
      ssh -L 8265:localhost:8265 HOST           # to see a run on another machine: then open localhost:8265
    """
    from dials_async.dashboard import NO_PASSWORD, FolderSource, serve
    from dials_async.listening import parse_address

    where = parse_address(address, "--address")
    folder = find(run) if run else newest_run()
    watcher = None if folder else watch(str(run))
    server = serve(watcher or FolderSource(folder or Path()), where)
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: who is started in the background ignores it
        signal.signal(number, signal.default_int_handler)
    try:
        if not where.is_loopback:
            click.echo(NO_PASSWORD, err=True)
        name = folder.resolve().name if folder else run
        click.echo(f"dashboard of '{name}': {server.url} (Ctrl-C ends it; the run goes on)")
        if not no_browser and sys.stdout.isatty() and _has_display():
            # Some browsers return when they are closed: nobody waits for that.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo()
    finally:
        server.close()
        if watcher is not None:
            watcher.close()


def find(run: str) -> Path | None:
    """Folder of ``run``; None if there is none here, and servers are named that may know it.

    Raises RunNotFoundError.
    """
    from dials_async.addresses import REDIS_PORT_VARIABLE, REDIS_VARIABLE
    from dials_async.run_folder import find_run

    try:
        return find_run(run)
    except RunNotFoundError:
        if not os.environ.keys() & {REDIS_VARIABLE, REDIS_PORT_VARIABLE}:
            raise
        return None


def watch(run: str) -> "RunWatcher":
    """A distributed run that is trained elsewhere. Raises RunNotFoundError, BrokerError, StoreError."""
    from dials_async.distributed.watch import RunWatcher

    return RunWatcher(run)


def newest_run() -> Path:
    """Folder of the run that was trained last, by the time of its live.json. Raises RunNotFoundError."""
    from dials_async.run_folder import CONFIG, LIVE, runs_root

    found = {}
    for path in runs_root().glob(f"*/{LIVE}"):
        try:
            found[path.parent] = path.stat().st_mtime
        except OSError:  # removed meanwhile
            continue
    if found:
        return max(found, key=lambda folder: found[folder])
    others = sorted(path.parent.name for path in runs_root().glob(f"*/{CONFIG}"))
    if others:
        raise RunNotFoundError(
            f"no run in {runs_root()} was trained with live news: say which to show, {', '.join(others[:8])}"
        )
    raise RunNotFoundError(f"no run in {runs_root()} yet: start one, 'dials train warehouse-4 --run demo'")


def _has_display() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
