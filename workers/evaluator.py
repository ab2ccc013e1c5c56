"""Evaluator: measures the policies on the GS, beside training.

``python -m workers.evaluator --run NAME`` is ``dials worker evaluator --run NAME``, for supervisors that
start modules.
"""

import sys

from dials_async.cli import main

if __name__ == "__main__":
    main(["worker", "evaluator", *sys.argv[1:]])
