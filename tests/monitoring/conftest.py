"""Makes `dashboards` and `boards` importable: programs of the folder monitoring/, in no package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "monitoring"))
