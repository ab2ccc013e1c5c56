"""GS sampler: runs the GS every F steps and retrains the AIPs.

``python -m workers.gs_sampler --run NAME`` is ``dials worker gs-sampler --run NAME``, for supervisors that
start modules.
"""

import sys

from dials_async.cli import main

if __name__ == "__main__":
    main(["worker", "gs-sampler", *sys.argv[1:]])
