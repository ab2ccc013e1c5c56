"""What a user sees while a run trains: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable, Set
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from dials_async.run_context import RunContext
from dials_async.runtime.wiring import committed_steps

#: Seconds between lines where the output is not a terminal.
LINE_EVERY_S = 10.0

#: Seconds over which the rate is measured: long enough to smooth over refreshes, short enough to show them.
RATE_OVER_S = 15.0

#: What each phase is called while it is what everybody waits for.
_PHASE_NAMES = {"collect": "running the GS", "aip": "training AIPs", "evaluate": "evaluating"}


class _Details(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("details", ""), style="default")


class ProgressView:
    """Shows the state of a run: a context manager; call ``update`` several times a second."""

    def __init__(self, context: RunContext, busy_with: Callable[[], Set[str]], quiet: bool) -> None:
        """``busy_with`` names the phases that some thread or process of the run is in at this moment."""
        self._context = context
        self._busy_with = busy_with
        self._quiet = quiet
        self._console = Console(file=sys.stderr)
        self._samples: deque[tuple[float, int]] = deque()
        self._next_line = time.monotonic() + LINE_EVERY_S
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.percentage:>3.0f} %"),
                BarColumn(bar_width=24),
                _Details(),
                console=self._console,
                transient=True,
            )

    def __enter__(self) -> "ProgressView":
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task("run", total=self._context.clock.total_steps)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self) -> None:
        """Show the present state."""
        if self._quiet:
            return
        total = sum(steps * group.n_agents for group, steps in committed_steps(self._context).items())
        now = time.monotonic()
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[0][0] > RATE_OVER_S:
            self._samples.popleft()
        done = total // self._context.domain.n_agents
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=done, details=self._details(done, self._console.width - 32)
            )
        elif now >= self._next_line:
            self._next_line = now + LINE_EVERY_S
            share = done / self._context.clock.total_steps
            print(f"{share:4.0%}  {self._details(done)}", file=sys.stderr, flush=True)

    def _details(self, done: int, columns: int = 1000) -> str:
        """The state in one line of at most ``columns``: what matters least is left out first."""
        context = self._context
        parts = {"steps": f"{done:,} steps per agent"}
        rate = self._rate()
        if rate > 0:
            parts["rate"] = f"{rate:,.0f} agent-steps/s"
        evaluations = context.store.records("evaluations")
        if evaluations:
            latest = max(evaluations, key=lambda record: record["steps"])
            parts["return"] = f"return {latest['return_mean']:.2f}"
            if latest["influence_ce_mean"] is not None:
                parts["ce"] = f"influence CE {latest['influence_ce_mean']:.2f}"
        left = (context.clock.total_steps - done) * context.domain.n_agents
        parts["phase"] = self._phase(left)
        if rate > 0 and left > 0:
            parts["left"] = f"{_clock(left / rate)} left"
        for least in ("steps", "phase", "ce", "rate", "return"):
            if len(" · ".join(parts.values())) <= columns:
                break
            parts.pop(least, None)
        return " · ".join(parts.values())

    def _rate(self) -> float:
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def _phase(self, left: int) -> str:
        busy = self._busy_with()
        if left and not busy & {"rollout", "learn"}:
            for phase in ("aip", "collect"):
                if phase in busy:
                    return _PHASE_NAMES[phase]
        return "learning" if left else _PHASE_NAMES["evaluate"]


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"
