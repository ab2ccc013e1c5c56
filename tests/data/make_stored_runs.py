"""Makes tests/data/stored_runs/: a run that was stopped and one that is finished, as of this version.

    python tests/data/make_stored_runs.py

They pin the format: what later versions must go on with, or refuse in one line. Made anew only when a version
refuses them on purpose (``FORMAT`` of checkpoints counted up); then the refusal has a test of its own.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from dials_async.config import Config  # noqa: E402
from dials_async.run_folder import create_run  # noqa: E402
from dials_async.runtime import training  # noqa: E402
from dials_async.runtime.embedded import EmbeddedRun  # noqa: E402
from dials_async.runtime.numerics import PARTS, join_run  # noqa: E402
from tests.runtime.small import small_config  # noqa: E402

#: Where they are.
STORED = HERE / "stored_runs"

#: Small networks: small files.
NETWORKS = ("domain.item_ages=false", "policy.hidden_sizes=[4, 4]", "aip.hidden_size=4")

#: What every run writes anew; large, and no state.
LEFT_OUT = ("report.html", "scene.json", "live.json")


def train_half(folder: Path, config: Config) -> bool:
    """At least two of five updates of each group; whether it came to the end before it was stopped."""
    run = EmbeddedRun(folder.name, config, folder, resume=False)
    join_run(run.context, "train", PARTS, allow_others=False)
    run.start()

    def watch() -> None:
        if all(steps >= 3200 for steps in run.steps_by_group().values()):
            run.context.stop.set()

    return run.wait(watch)


def main() -> None:
    """Write both folders."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["DIALS_RUNS"] = name
        config = small_config(*NETWORKS, "run.steps=8000")  # five updates
        finished = training.train("finished", config, "dials train finished").folder
        stopped = create_run("stopped", config)
        assert not train_half(stopped, config), "it was too fast to be stopped: try again"
        for folder in (finished, stopped):
            for left_out in LEFT_OUT:
                (folder / left_out).unlink(missing_ok=True)
            older = sorted(folder.glob("checkpoints/*"))[:-1]
            for path in older:
                path.unlink()
            shutil.rmtree(STORED / folder.name, ignore_errors=True)
            shutil.copytree(folder, STORED / folder.name)


if __name__ == "__main__":
    main()
