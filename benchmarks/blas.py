"""Small matrix products of the networks' sizes under each kernel set that OpenBLAS offers on this processor.

python benchmarks/blas.py            (the choice of a shell: OPENBLAS_CORETYPE=SkylakeX dials train ...)
"""

import os
import subprocess
import sys

CORE_TYPES = (None, "", "Haswell", "Zen", "SkylakeX", "Cooperlake")
SIZES = ((16, 64, 64), (64, 64, 192), (128, 64, 64))

MEASURE = """
import dials_async, time, numpy as np
from threadpoolctl import threadpool_info
from dials_async.kernels.compile import jit

@jit
def repeat(x, w, out, n):
    for _ in range(n):
        np.dot(x, w, out)

names = {info["architecture"] for info in threadpool_info() if info["internal_api"] == "openblas"}
cells = []
for n, i, o in SIZES:
    x, w, out = np.ones((n, i), np.float32), np.ones((i, o), np.float32), np.zeros((n, o), np.float32)
    repeat(x, w, out, 10)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        repeat(x, w, out, 2000)
        times.append((time.perf_counter() - start) / 2000)
    cells.append(f"{2 * n * i * o / sorted(times)[3] / 1e9:7.1f}")
print("/".join(sorted(names)), *cells)
"""


def main() -> None:
    print("OPENBLAS_CORETYPE -> kernels, GFLOP/s at", *("x".join(map(str, size)) for size in SIZES))
    for core_type in CORE_TYPES:
        environment = dict(os.environ)
        environment.pop("OPENBLAS_CORETYPE", None)
        if core_type is not None:
            environment["OPENBLAS_CORETYPE"] = core_type
        script = MEASURE.replace("SIZES", repr(SIZES))
        result = subprocess.run(
            [sys.executable, "-c", script], check=False, env=environment, capture_output=True, text=True
        )
        label = "(unset)" if core_type is None else core_type or "(empty)"
        print(f"{label:>12}: {result.stdout.strip() or result.stderr.strip().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main()
