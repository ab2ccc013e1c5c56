"""Fleet health: which processes there are, what they need, what they lost, and which alerts fire."""

from boards.board import Board, Row
from boards.panels import BAD, GOOD, NEUTRAL, WARN, Query, lines, number, rows, states

_RUN = 'run="$run"'
_TARGETS = 'job="dials", run="$run"'


def fleet() -> Board:
    """The dashboard."""
    return Board(
        "dials-fleet",
        "DIALS / Fleet health",
        "Processes and servers of a run. A run in one process has one line, train.",
        [_glance(), _alerts(), _processes(), _resources(), _links(), _work()],
    )


def _glance() -> Row:
    no_more = ((None, GOOD), (1, BAD))
    panels = [
        number(
            "Processes up",
            "That answer Prometheus.",
            "none",
            f"sum(up{{{_TARGETS}}})",
            limits=((None, BAD), (1, GOOD)),
        ),
        number(
            "Processes down",
            "That left without a goodbye and are not back.",
            "none",
            f"count(up{{{_TARGETS}}} == 0) or vector(0)",
            limits=no_more,
        ),
        number(
            "Rollout workers",
            "That were heard of lately, as the run itself sees them. 0: nobody simulates.",
            "none",
            f'max(dials_processes{{{_RUN}, kind="rollout"}})',
            limits=((None, BAD), (1, GOOD)),
        ),
        number(
            "Versions of the code",
            "More than one: results are equal only among equal versions.",
            "none",
            f"count(count by (code) (dials_build_info{{{_RUN}}}))",
            limits=((None, GOOD), (2, BAD)),
        ),
        number(
            "Dead letters",
            "Malformed messages that are kept for a look.",
            "none",
            f"max(dials_dead_letters{{{_RUN}}})",
            limits=((None, GOOD), (1, WARN)),
        ),
        number(
            "Firing alerts",
            "Of this run.",
            "none",
            f'count(ALERTS{{{_RUN}, alertstate="firing"}}) or vector(0)',
            limits=no_more,
        ),
    ]
    return Row("At a glance", panels, width=4, height=4)


def _alerts() -> Row:
    panels = [
        rows(
            "Which alerts fire",
            "What docs/monitoring.md has a section on each of.",
            f'ALERTS{{{_RUN}, alertstate="firing"}}',
            {"alertname": "Alert", "severity": "Severity", "instance": "Process", "group": "Group"},
            "No alert fires.",
        ),
        rows(
            "Versions",
            "Processes by what they run. More than one row: mixed code or libraries.",
            f"count by (code, dials_async, python, numpy, numba, msgpack) (dials_build_info{{{_RUN}}})",
            {
                "code": "Code",
                "dials_async": "dials-async",
                "python": "Python",
                "numpy": "NumPy",
                "numba": "Numba",
                "msgpack": "msgpack",
                "Value": "Processes",
            },
            "No process answers.",
        ),
    ]
    return Row("Alerts and versions", panels, height=6)


def _processes() -> Row:
    panels = [
        states(
            "Processes",
            "Who answers Prometheus. Red: killed or stuck, not yet replaced. Who leaves in order is gone.",
            Query(f"max by (instance) (up{{{_TARGETS}}})", "{{instance}}"),
        ),
        lines(
            "Processes by kind",
            "That were heard of lately, as the run itself sees them; threads in a run of one process.",
            "none",
            Query(f"max by (kind) (dials_processes{{{_RUN}}})", "{{kind}}"),
        ),
    ]
    return Row("Processes", panels, height=9)


def _resources() -> Row:
    panels = [
        lines(
            "Memory",
            "Resident memory of each process. It should level off after the first updates.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{_TARGETS}}}", "{{instance}}"),
        ),
        lines(
            "Processor time",
            "Cores in use by each process: 1 is one core's worth.",
            "short",
            Query(f"rate(process_cpu_seconds_total{{{_TARGETS}}}[$__rate_interval])", "{{instance}}"),
        ),
        lines(
            "Open files",
            "Files and sockets, as a share of what the process may open.",
            "percentunit",
            Query(f"process_open_fds{{{_TARGETS}}} / process_max_fds{{{_TARGETS}}}", "{{instance}}"),
            limits=((None, GOOD), (0.8, BAD)),
        ),
    ]
    return Row("Resources", panels, width=8)


def _links() -> Row:
    panels = [
        states(
            "Connections to the servers",
            "Red as soon as one process has lost RabbitMQ (broker) or Redis (store).",
            Query(f"min(dials_broker_up{{{_RUN}}})", "broker"),
            Query(f"min(dials_store_up{{{_RUN}}})", "store"),
        ),
        lines(
            "Connections made again",
            "Lost connections that came back, by process and server.",
            "none",
            Query(
                f"increase(dials_broker_reconnects_total{{{_RUN}}}[$__rate_interval])", "{{instance}}: broker"
            ),
            Query(
                f"increase(dials_store_reconnects_total{{{_RUN}}}[$__rate_interval])", "{{instance}}: store"
            ),
        ),
        lines(
            "Age of the workers' weights",
            "Since a worker took a new version. A straight rise: no update, or no task of that group for it.",
            "s",
            Query(
                'max by (instance, group) (dials_worker_weights_age_seconds{run="$run", group=~"$group"})',
                "{{instance}}, group {{group}}",
            ),
        ),
    ]
    return Row("Servers and weights", panels, width=8)


def _work() -> Row:
    panels = [
        lines(
            "Tasks by result",
            "Per second. Outdated: a second copy of a task that was committed; rejected: malformed.",
            "cps",
            Query(f"sum by (result) (rate(dials_tasks_total{{{_RUN}}}[$__rate_interval]))", "{{result}}"),
            stacked=True,
        ),
        lines(
            "Dropped experience",
            "Share of agent-steps that arrived and were not used: too old for the lag, or a second copy.",
            "percentunit",
            Query(f"run_reason:dials_agent_steps_dropped:share5m{{{_RUN}}}", "{{reason}}"),
            high=1,
            limits=((None, NEUTRAL), (0.1, BAD)),
        ),
        lines(
            "Rejected messages",
            "Malformed messages that became dead letters, by queue, in each interval.",
            "none",
            Query(
                f"sum by (queue) (increase(dials_messages_dead_lettered_total{{{_RUN}}}[$__rate_interval]))",
                "{{queue}}",
            ),
        ),
        lines(
            "Dead letters that are kept",
            "At most 1000, the oldest go first.",
            "none",
            Query(f"max(dials_dead_letters{{{_RUN}}})", "dead"),
        ),
    ]
    return Row("Work and losses", panels, width=6)
