"""Influence: how well the predictors know what the rest of the system does, and when they are retrained."""

from boards.board import Board, Row
from boards.panels import BAD, GOOD, NEUTRAL, WARN, Query, lines, number

_RUN = 'run="$run"'

#: As in DialsInfluenceDrift.
_DRIFT = ((None, GOOD), (1.4, WARN), (1.75, BAD))


def influence() -> Board:
    """The dashboard."""
    return Board(
        "dials-influence",
        "DIALS / Influence",
        "How well the influence predictors (AIPs) know the rest of the system. Cross-entropy (CE) contains "
        "the randomness of the neighbours themselves: it need not go to 0. Blue marks: refreshes.",
        [_glance(), _cross_entropy(), _refreshes()],
    )


def _ce(data: str, statistic: str = "mean") -> str:
    return f'max(dials_influence_ce_nats{{{_RUN}, data="{data}", statistic="{statistic}"}})'


def _glance() -> Row:
    since = f"max(dials_steps_since_aip_refresh{{{_RUN}}})"
    interval = f"max(dials_aip_refresh_interval_steps{{{_RUN}}} > 0)"
    panels = [
        number(
            "AIP version",
            "0: untrained; 1 more with every refresh.",
            "none",
            f"max(dials_aip_version{{{_RUN}}})",
        ),
        number(
            "CE on evaluations",
            "Nats per source, mean over agents, under the policies of the last evaluation. Lower is better.",
            "none",
            _ce("evaluation"),
            decimals=3,
        ),
        number(
            "Known beyond frequencies",
            "Nats by which the AIPs beat constant frequencies at the last refresh. 0: they know nothing.",
            "none",
            f"{_ce('marginal')} - {_ce('after')}",
            limits=((None, BAD), (0.001, GOOD)),
            low=None,
            decimals=3,
        ),
        number(
            "Drift",
            "CE on evaluations over CE right after the refresh. Well above 1: policies have moved away.",
            "none",
            f"run:dials_influence_drift:ratio{{{_RUN}}}",
            limits=_DRIFT,
            decimals=2,
        ),
        number(
            "Way to the next refresh",
            "Steps since the last refresh, of F. Beyond 100 % at policy lag, or while a refresh runs.",
            "percentunit",
            f"{since} / {interval}",
            limits=((None, NEUTRAL), (1.5, WARN), (2, BAD)),
        ),
        number("F", "Steps per agent between refreshes.", "short", interval),
    ]
    return Row("At a glance", panels, width=4, height=4)


def _cross_entropy() -> Row:
    agents = f'max by (agent) (dials_agent_influence_ce_nats{{{_RUN}, data="%s"}})'
    panels = [
        lines(
            "Cross-entropy, mean over agents",
            "Nats per source: before and after a refresh, on evaluations, and of constant frequencies.",
            "none",
            Query(
                f'max by (data) (dials_influence_ce_nats{{{_RUN}, statistic="mean"}})',
                "{{data}}",
            ),
            dashed="marginal",
        ),
        lines(
            "Cross-entropy on evaluations, spread over agents",
            "Nats per source: mean, and from the best to the worst predicted agent.",
            "none",
            Query(_ce("evaluation"), "evaluation"),
            Query(_ce("evaluation", "max"), "worst"),
            Query(_ce("evaluation", "min"), "best"),
            bands={"worst": "best"},
        ),
        lines(
            "Cross-entropy per agent, on evaluations",
            "Nats per source. One far above the others: an agent whose neighbours are hard to predict.",
            "none",
            Query(agents % "evaluation", "agent {{agent}}"),
        ),
        lines(
            "Cross-entropy per agent, after the refresh",
            "Nats per source, on held-out episodes of the data of the refresh.",
            "none",
            Query(agents % "after", "agent {{agent}}"),
        ),
    ]
    return Row("Cross-entropy", panels)


def _refreshes() -> Row:
    simulated = "sum by (purpose) (rate(dials_agent_steps_simulated_total{%s}[$__rate_interval]))"
    panels = [
        lines(
            "Drift, and what refreshes win back",
            "CE on evaluations, and before the refresh, over CE right after it. The line: the alert.",
            "none",
            Query(f"run:dials_influence_drift:ratio{{{_RUN}}}", "drift"),
            Query(f"run:dials_influence_regained:ratio{{{_RUN}}}", "won back"),
            limits=((None, GOOD), (1.75, BAD)),
        ),
        lines(
            "Steps since the last refresh",
            "Steps per agent of the slowest group, and F: a saw that reaches F.",
            "short",
            Query(f"max(dials_steps_since_aip_refresh{{{_RUN}}})", "steps"),
            Query(f"max(dials_aip_refresh_interval_steps{{{_RUN}}})", "F"),
            dashed="F",
        ),
        lines(
            "AIP version over time",
            "One more with every refresh: steps of even length, at lag 0.",
            "none",
            Query(f"max(dials_aip_version{{{_RUN}}})", "version"),
        ),
        lines(
            "Steps of the global simulator",
            "Agent-steps per second on the GS, by purpose: what DIALS tries to need little of.",
            "short",
            Query(simulated % f'{_RUN}, simulator="gs"', "simulated to {{purpose}}"),
        ),
        lines(
            "Work of a refresh",
            "Busy threads that collect data on the GS, and that train AIPs on it.",
            "short",
            Query(
                "sum by (phase) "
                f'(rate(dials_phase_seconds_total{{{_RUN}, phase=~"collect|aip"}}[$__rate_interval]))',
                "{{phase}}",
            ),
            stacked=True,
        ),
        lines(
            "Learners wait for AIPs",
            "Share of the learners' time. With policy lag only before the first refresh.",
            "percentunit",
            Query(f'run_reason:dials_learner_wait:share1m{{{_RUN}, reason="aips"}}', "waiting for AIPs"),
            high=1,
        ),
    ]
    return Row("Refreshes", panels)
