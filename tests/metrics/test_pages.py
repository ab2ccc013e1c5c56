"""docs/metrics.md tells of every metric that the code has, in its words, and of no other."""

from pathlib import Path

from tests.metrics.pages import rows_of_processes, rows_of_the_run

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_has_the_metrics_of_the_code_and_no_others() -> None:
    rows = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| `dials_")]
    wanted = [*rows_of_processes(), *rows_of_the_run()]
    assert rows == wanted, "docs/metrics.md should have:\n" + "\n".join(wanted)


def test_names_keep_to_one_scheme() -> None:
    for row in (*rows_of_processes(), *rows_of_the_run()):
        name, kind = row.split("`")[1].partition("{")[0], row.split(" | ")[1]
        assert name.startswith("dials_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(("_ms", "_mib", "_minutes", "_percent")), f"{name}: base units"
