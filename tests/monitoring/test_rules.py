"""Recording rules and alerts of Prometheus: its own tool accepts them, and alerts fire when they should."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rule_files import RULES, all_rules

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).with_name("rules.yml")
ALERTS = [rule.name for _, rule in all_rules() if rule.kind == "alert"]


@pytest.fixture(scope="module")
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        reason = "promtool is not installed: it comes with Prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def anchors(page: Path) -> set[str]:
    """What a link may name behind '#': headings in lower case, spaces as dashes, other signs left out."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_prometheus_accepts_the_rules(promtool: str) -> None:
    for path in sorted(RULES.glob("*.yml")):
        result = run(promtool, "check", "rules", path)
        assert result.returncode == 0, result.stdout + result.stderr


def test_our_reader_of_rule_files_finds_as_many_as_prometheus(promtool: str) -> None:
    for path in sorted(RULES.glob("*.yml")):
        counted = re.search(r"(\d+) rules found", run(promtool, "check", "rules", path).stdout)
        assert counted is not None
        assert sum(found == path for found, _ in all_rules()) == int(counted[1])


def test_rules_and_alerts_do_on_made_up_series_what_they_should(promtool: str) -> None:
    result = run(promtool, "test", "rules", CASES)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_the_cases_have_an_alert_fire_and_not_fire(alert: str) -> None:
    text = CASES.read_text(encoding="utf-8")
    assert re.search(rf"alertname: {alert}\n\s+exp_alerts:\n\s+- exp_labels", text), "no case where it fires"
    assert f"alertname: {alert}, exp_alerts: []" in text, "no case where it does not"


def test_the_cases_name_only_alerts_that_exist() -> None:
    named = set(re.findall(r"alertname: (\w+)", CASES.read_text(encoding="utf-8")))
    assert named == set(ALERTS)  # promtool finds that a misspelt alert does not fire


@pytest.mark.parametrize("name", [rule.name for _, rule in all_rules() if rule.kind == "record"])
def test_the_cases_look_at_a_recording_rule(name: str) -> None:
    looked_at = re.findall(r"- expr: (?:round\()?([\w:]+)", CASES.read_text(encoding="utf-8"))
    assert name in looked_at


def test_every_alert_says_how_bad_it_is_and_links_to_what_to_do() -> None:
    text = (RULES / "alerts.yml").read_text(encoding="utf-8")
    known = anchors(ROOT / "docs" / "monitoring.md")
    blocks = re.split(r"- alert: ", text)[1:]
    assert len(blocks) == len(ALERTS)
    for name, block in zip(ALERTS, blocks, strict=True):
        assert re.search(r"severity: (critical|warning)\n", block), name
        assert re.search(r"^\s+for: \d+[smh]$", block, re.MULTILINE), name
        assert "summary: " in block, name
        assert "description: " in block, name
        link = re.search(r"runbook_url: docs/monitoring\.md#(\S+)", block)
        assert link is not None, name
        assert link[1] == name.lower()
        assert link[1] in known, f"docs/monitoring.md has no section {name}"
