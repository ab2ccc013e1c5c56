"""The pages and figures under docs/results are those that the CSV files beside them make."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dials_async.experiments import figures
from dials_async.experiments.catalogue import load_catalogue
from dials_async.experiments.page import PAGE, READING, write_page
from dials_async.experiments.tables import ANALYSES, read_tables

RESULTS = Path(__file__).parents[2] / "docs" / "results"
COMMITTED = sorted(path.parent.name for path in RESULTS.glob("*/runs.csv"))

#: Points of the figure (1/72 inch) that coordinates may differ by: other processors round otherwise.
TOLERANCE = 0.05


def test_there_are_results() -> None:
    assert {"ablation", "fidelity", "gs-vs-dials", "lag", "papers-settings", "scalability", "theory"} <= set(
        COMMITTED
    )


@pytest.mark.parametrize("name", COMMITTED)
def test_figures_and_page_come_from_the_tables_again(name: str, tmp_path: Path) -> None:
    folder, catalogue = RESULTS / name, load_catalogue()
    experiment, tables = catalogue.experiment(name), read_tables(folder)
    assert all(catalogue.is_current(row) for row in tables.rows["runs"])
    assert {analysis for analysis in ANALYSES if tables.rows[analysis]} == {experiment.analysis} - {None}
    drawn = figures.draw(experiment, tables, catalogue)
    figures.save(drawn, tmp_path)
    assert {path.stem for path in folder.glob("*.svg")} == set(drawn)
    assert {path.stem for path in folder.glob("*.png")} == set(drawn)
    for figure in drawn:
        committed, again = (numbers(where / f"{figure}.svg") for where in (folder, tmp_path))
        np.testing.assert_allclose(again, committed, rtol=0, atol=TOLERANCE, err_msg=figure)
    if (folder / READING).exists():
        shutil.copy(folder / READING, tmp_path)
    page = write_page(experiment, tables, catalogue, list(drawn), tmp_path)
    assert page.read_text() == (folder / PAGE).read_text()


def test_the_comparison_with_other_software_is_drawn_again(tmp_path: Path) -> None:
    for path in (RESULTS / "compare").glob("*.csv"):
        shutil.copy(path, tmp_path)
    script = RESULTS.parents[1] / "benchmarks" / "compare" / "draw.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    committed, again = (numbers(folder / "compare.svg") for folder in (RESULTS / "compare", tmp_path))
    np.testing.assert_allclose(again, committed, rtol=0, atol=TOLERANCE)


def numbers(path: Path) -> list[float]:
    """Every number of an SVG file's paths and places, in order."""
    text = path.read_text()
    coordinates = re.findall(r'(?: d|points|transform|x|y|width|height)="([^"]*)"', text)
    return [float(one) for cell in coordinates for one in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", cell)]
