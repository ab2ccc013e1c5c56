"""The run report: one self-contained page that shows what was learned, and why to believe it."""

from dials_async.report.comparison import write_comparison
from dials_async.report.html import write_report

__all__ = ["write_comparison", "write_report"]
