"""The page of one run: complete, self-contained, reproducible, and forgiving about what may be missing."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dials_async.errors import RunNotFoundError, UsageError
from dials_async.report import write_report

from .synthetic import random_walk_scene, summary, write_csv, write_run

VOID = {"meta", "input", "br", "link", "img", "hr"}
LOADS = {"src", "href", "data", "action", "poster", "srcset", "xlink:href"}


class Page(HTMLParser):
    """A parsed page: its text outside scripts and styles, and every attribute that could load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in LOADS]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes the wrong element, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())


def report_of(folder: Path) -> tuple[str, Page]:
    html = write_report(folder).read_text(encoding="utf-8")
    return html, Page(html)


def test_the_page_is_well_formed_and_ids_are_unique(tmp_path: Path) -> None:
    _, page = report_of(write_run(tmp_path / "run"))

    assert page.open == []
    assert {"svg", "canvas", "table"} <= set(page.tags)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_contains_each_figure_of_the_summary(tmp_path: Path) -> None:
    _, page = report_of(write_run(tmp_path / "run"))

    expected = [
        *("warehouse-4", "4 agents", "1,000,000 steps", "4,000,000 agent-steps", "38 s", "104,138"),
        *("14.23", "± 0.06", "14.41", "400 fresh episodes", "0.21", "after 2 refreshes"),
        *("1.51 ± 0.03", "13.10 ± 0.07", "13.14 ± 0.07", "14.61 ± 0.06", "14.80 ± 0.06"),
        *("13.28", "8.12", "4.33", "13.13", "Suau et al. 2022"),
        *("1.2 s", "9.8 s", "21 s", "32 s", "3.1 s"),
        *("9f2c4d1e" * 8, "numpy 2.3.1", "Example CPU @ 2.60GHz", "2 cores", "2025-01-31 12:00 UTC"),
        "dials train runs/run/config.toml --run run-again",
        "refresh_every_steps = 500000",
    ]
    missing = [figure for figure in expected if figure not in page.text]
    assert missing == []
    for value in summary()["return_per_agent"]:
        assert f"{value:.2f}" in page.text


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    html, page = report_of(write_run(tmp_path / "run"))

    assert [target for target in page.loads if not target.startswith("#")] == []
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html


def test_every_reference_inside_the_charts_has_a_target(tmp_path: Path) -> None:
    html, page = report_of(write_run(tmp_path / "run"))

    wanted = {target[1:] for target in page.loads} | {part.split(")")[0] for part in html.split("url(#")[1:]}
    assert wanted <= set(page.ids)


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    first = write_report(write_run(tmp_path / "a" / "run")).read_bytes()
    second = write_report(write_run(tmp_path / "b" / "run")).read_bytes()

    assert first == second


@pytest.mark.parametrize(
    ("missing", "gone", "still_there"),
    [
        ("scene.json", "An episode", "Learning curve"),
        ("config.toml", "Full configuration", "Run it again"),
        ("refreshes.csv", "Every refresh in numbers", "How well the influence is foreseen"),
    ],
)
def test_a_missing_piece_is_left_out(tmp_path: Path, missing: str, gone: str, still_there: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / missing).unlink()

    _, page = report_of(folder)

    assert gone not in page.text
    assert still_there in page.text


def test_a_run_on_the_global_simulator_has_no_influence_part(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", simulator="gs", influence_ce=None, aip_refreshes=None)

    _, page = report_of(folder)

    assert "How well the influence is foreseen" not in page.text
    assert "influence error" not in page.text
    assert "Trained on the global simulator" in page.text


def test_a_bare_summary_with_one_evaluation_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    bare = {
        "preset": "p",
        "simulator": "dials",
        "agents": 1,
        "agent_steps": 0,
        "wall_seconds": 0,
        "final_return_mean": 0,
    }
    (folder / "summary.json").write_text(json.dumps(bare))
    (folder / "metrics.csv").write_text("steps,seconds,return_mean\n0,0,0\n")

    _, page = report_of(folder)

    assert "1 agent learned for 0 steps in 0.0 s. It earns 0.00 an episode." in page.text
    assert "Where this stands" not in page.text


@pytest.mark.parametrize("agents", [3, 25, 100])
def test_any_number_of_agents_is_shown(tmp_path: Path, agents: int) -> None:
    html, page = report_of(write_run(tmp_path / "run", agents=agents, optional=False))

    assert f"{agents} agents learned" in page.text
    assert ('class="heat' in html) == (agents != 3)


def test_texts_of_a_run_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    scene = random_walk_scene(steps=1) | {"title": evil}
    folder = write_run(tmp_path / "run$", preset=evil, baselines={evil: 3, "$x$": 4}, scene=scene)

    html, page = report_of(folder)

    assert "<script>alert" not in html
    assert page.tags.count("script") == 2
    assert "$x$" in page.text


def test_predictors_without_skill_are_called_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    row = {"aip_version": 1, "steps": 0, "ce_before": 1.4, "ce_after": 0.9, "ce_marginal": 0.7, "seconds": 1}
    write_csv(folder / "refreshes.csv", [row])

    _, page = report_of(folder)

    assert "no better than the marginal frequencies (0.70)" in page.text


@pytest.mark.parametrize(
    ("after", "words"),
    [(0.181, "refresh left it at 0.18 nats"), (0.161, "refresh brought it from 0.18 to 0.16 nats")],
)
def test_a_refresh_that_changed_nothing_to_see_is_not_told_as_a_change(
    after: float, words: str, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run")
    row = {
        "aip_version": 1,
        "steps": 0,
        "ce_before": 0.184,
        "ce_after": after,
        "ce_marginal": 0.3,
        "seconds": 1,
    }
    write_csv(folder / "refreshes.csv", [row])

    _, page = report_of(folder)

    assert words in page.text


def test_a_difference_within_the_error_is_not_called_a_win(tmp_path: Path) -> None:
    close = {"age-distance": 14.2, "random": 1.5}

    _, page = report_of(write_run(tmp_path / "run", baselines=close))

    assert "On a par with age-distance" in page.text


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("summary.json", None, "summary.json is missing"),
        ("summary.json", "{", "not valid JSON"),
        ("summary.json", "[]", "must hold a JSON object"),
        ("summary.json", json.dumps({**summary(), "agents": "four"}), "agents must be a whole number"),
        (
            "summary.json",
            json.dumps(summary(final_return_mean=None)),
            "final_return_mean must be a finite number",
        ),
        ("summary.json", json.dumps(summary(published={"x": "high"})), "published must be"),
        (
            "summary.json",
            json.dumps(summary(wall_seconds=float("nan"))),
            "wall_seconds must be a finite number",
        ),
        ("metrics.csv", None, "metrics.csv is missing"),
        ("metrics.csv", "steps,seconds\n0,0\n", "lacks return_mean"),
        ("metrics.csv", "steps,seconds,return_mean\n", "holds no rows"),
        ("metrics.csv", "steps,seconds,return_mean\n0,0\n", "row 1: 2 cells"),
        ("metrics.csv", "steps,seconds,return_mean\n0,0,high\n", "row 1: return_mean is 'high'"),
        ("metrics.csv", "steps,seconds,return_mean\n0,0,nan\n", "row 1: return_mean must be a finite number"),
        ("refreshes.csv", "steps\n0\n", "lacks ce_before, ce_after"),
        ("scene.json", "{}", "title must be a text"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    tmp_path: Path, name: str, content: str | None, complaint: str
) -> None:
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)

    with pytest.raises(UsageError) as caught:
        write_report(folder)

    assert complaint in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


def test_a_run_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="no run folder"):
        write_report(tmp_path / "nowhere")
