"""Learner daemon: updates the policies of its share of the groups and commits them.

``python -m workers.learner --run NAME`` is ``dials worker learner --run NAME``, for supervisors that
start modules.
"""

import sys

from dials_async.cli import main

if __name__ == "__main__":
    main(["worker", "learner", *sys.argv[1:]])
