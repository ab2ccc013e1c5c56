"""What libraries read from the environment when they are loaded, set before that."""

import os


def configure() -> None:
    """Called once, before anything else of the package is imported."""
    # One thread: ours keep the cores busy. Kernels use none of theirs; NumPy and torch do.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    # Meant for other programs of the same shell: the first would have Prometheus' client write every metric
    # into files, the others give us another SUMO under the name of TraCI.
    for variable in (
        "PROMETHEUS_MULTIPROC_DIR",
        "prometheus_multiproc_dir",
        "LIBSUMO_AS_TRACI",
        "LIBTRACI_AS_TRACI",
    ):
        os.environ.pop(variable, None)
