"""Keeper: shows progress and writes the run's folder; ends with the run.

``python -m workers.keeper --run NAME`` is ``dials worker keeper --run NAME``, for supervisors that
start modules.
"""

import sys

from dials_async.cli import main

if __name__ == "__main__":
    main(["worker", "keeper", *sys.argv[1:]])
