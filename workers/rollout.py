"""Rollout worker: steps IALS (or the GS) for the learners; stateless, start as many as you like.

``python -m workers.rollout --run NAME`` is ``dials worker rollout --run NAME``, for supervisors that
start modules.
"""

import sys

from dials_async.cli import main

if __name__ == "__main__":
    main(["worker", "rollout", *sys.argv[1:]])
