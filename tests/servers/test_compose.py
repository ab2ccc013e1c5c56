"""Containers listen on this machine alone, are pinned, and mount what is there; no container is started."""

import json
import re
from pathlib import Path

MONITORING = Path(__file__).parents[2] / "monitoring"
COMPOSE = (MONITORING / "compose.yml").read_text(encoding="utf-8")


def values(pattern: str) -> list[str]:
    found = re.findall(pattern, COMPOSE, re.MULTILINE)
    assert found
    return found


def test_images_are_pinned() -> None:
    for tag in values(r"^    image: \S+?:(\S+)"):
        assert re.match(r"v?\d+\.\d+\.\d+", tag)


def test_nothing_listens_beyond_this_machine() -> None:
    for port in values(r'^      - "([\d.:]+:\d+)"'):
        assert port.startswith("127.0.0.1:")
    # Who shares the host's network is told the address by its settings
    for name, address in (("prometheus", "--web.listen-address=127.0.0.1:"), ("grafana", "ADDR: 127.0.0.1")):
        (service,) = values(rf"^  {name}:\n((?:    .*\n)+)")
        assert "network_mode: host" in service
        assert address in service
    assert COMPOSE.count("network_mode: host") == 2


def test_files_that_are_mounted_are_there() -> None:
    for path in values(r"^      - (\./[^:]+):"):
        assert (MONITORING / path).exists(), path


def test_its_own_targets_are_those_of_its_ports() -> None:
    for job, port in (("rabbitmq", 15692), ("prometheus", 9090)):
        (entry,) = json.loads((MONITORING / "compose" / "targets" / job / "compose.json").read_text())
        assert entry["targets"] == [f"127.0.0.1:{port}"]
        assert f"127.0.0.1:{port}" in COMPOSE
        assert f"'targets/{job}/*.json'" in (MONITORING / "prometheus.yml").read_text()
