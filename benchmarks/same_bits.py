"""The hash of the weights under everything that may change how a processor computes: all must be one.

    python benchmarks/same_bits.py
    python benchmarks/same_bits.py traffic-4 --set aip.network=gru --steps 100000

Kernels compiled for other processors (one with AVX-512 only where this machine can run it), other BLAS, NumPy
and libm without the newer instructions, other numbers of workers; last, on private servers, a run in
processes of which each worker and each learner has another setting.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import llvmlite.binding as llvm

from dials_async.config import load_config
from dials_async.distributed.honcho import Honcho
from dials_async.run_folder import CONFIG, SUMMARY

V3 = "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sahf,+sse4.2,+xsave"
V4 = f"{V3},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,-prefer-256-bit"
NARROW = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": V3}
WIDE = {"NUMBA_CPU_NAME": "x86-64-v4", "NUMBA_CPU_FEATURES": V4}

SETTINGS: dict[str, dict[str, str]] = {
    "no setting": {},
    "kernels for x86-64-v3": NARROW,
    "kernels for AVX-512, 512 bits": WIDE,
    "OPENBLAS_CORETYPE=Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "OPENBLAS_CORETYPE=Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OPENBLAS_CORETYPE=Zen": {"OPENBLAS_CORETYPE": "Zen"},
    "NumPy without AVX2 and above": {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX"},
    "libm without AVX2 and FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
    "1 worker": {"DIALS_SET": "runtime.workers=1"},
    "4 workers": {"DIALS_SET": "runtime.workers=4"},
}

#: Beside a worker and a learner without any setting.
MIXED = {
    "rollout": ("kernels for x86-64-v3", "NumPy without AVX2 and above"),
    "learner": ("kernels for x86-64-v3",),
}


def can_run(environment: dict[str, str]) -> bool:
    """Whether this processor has what kernels are compiled for."""
    host = {name for name, there in llvm.get_host_cpu_features().items() if there}
    wanted = environment.get("NUMBA_CPU_FEATURES", "").split(",")
    return {name[1:] for name in wanted if name.startswith("+")} <= host


def embedded(preset: Path, folder: Path, environment: dict[str, str]) -> str:
    """Train in one process; the hash of the weights."""
    extra = [word for setting in environment.get("DIALS_SET", "").split() for word in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-m", "dials_async", "train", str(preset), "--run", "same", *extra],
        env={**os.environ, **environment, "DIALS_RUNS": str(folder)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return str(json.loads((folder / "same" / SUMMARY).read_text())["weights_sha256"])


def mixed(preset: Path, folder: Path) -> str:
    """Train in processes of different settings; the hash of the weights."""
    folder.mkdir()
    others = []
    with Honcho(load_config(str(preset), ()), "same", folder, {"rollout": 1, "learner": 1}) as honcho:
        for role, names in MIXED.items():
            for name in names:
                command = [
                    sys.executable,
                    "-m",
                    "dials_async",
                    "worker",
                    role,
                    "--run",
                    "same",
                    "--wait",
                    "900",
                ]
                others.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, **honcho.environment, **SETTINGS[name]},
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
        try:
            assert honcho.wait() == 0, honcho.log
        finally:
            for process in others:
                process.terminate()
                process.wait()
    return str(json.loads((folder / "runs" / "same" / SUMMARY).read_text())["weights_sha256"])


@click.command()
@click.argument("preset", default="warehouse-4")
@click.option("--steps", default=200_000, show_default=True, help="Per agent, with two refreshes.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/same-bits"))
@click.option("--set", "settings", multiple=True, help="For example policy.network=gru.")
def main(preset: str, steps: int, folder: Path, settings: tuple[str, ...]) -> None:
    """Train under each setting."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = (f"schedule.refresh_steps={steps // 2}", "schedule.final_eval_episodes=8", *settings)
    config = load_config(preset, given, {"run": {"steps": steps}})
    file = folder / CONFIG
    file.write_text(config.to_toml(), encoding="utf-8")
    hashes = set()
    for k, (label, environment) in enumerate(SETTINGS.items()):
        if not can_run(environment):
            click.echo(f"{'':16}  {label}: not on this processor")
            continue
        found = embedded(file, folder / str(k), environment)
        hashes.add(found)
        click.echo(f"{found[:16]}  {label}")
    found = mixed(file, folder / "mixed")
    hashes.add(found)
    click.echo(
        f"{found[:16]}  in processes: "
        + "; ".join(f"{r}: no setting, {', '.join(n)}" for r, n in MIXED.items())
    )
    click.echo("all the same" if len(hashes) == 1 else "NOT THE SAME")
    raise SystemExit(len(hashes) - 1)


if __name__ == "__main__":
    main()
