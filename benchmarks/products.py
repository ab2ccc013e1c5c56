"""Matrix products of the networks' sizes: ours, OpenBLAS' (NumPy) and torch's, beside the peak of one core.

    python benchmarks/products.py

One thread. First what a layer does, rows x terms times terms x columns; behind it the gradient of its
weights, x^T times rows x columns. The peak is that of fused multiply-adds on registers alone, measured in the
same minute.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

import dials_async  # noqa: F401  # one thread of BLAS: before NumPy is imported
from dials_async.kernels import vectors as v
from dials_async.kernels.arithmetic import llvm_code
from dials_async.kernels.compile import jit
from dials_async.kernels.panels import load_panels
from dials_async.kernels.processor import HAS_WIDE_REGISTERS
from dials_async.kernels.products import product
from dials_async.kernels.vectors import LANES, padded, stride
from dials_async.networks.layout import aligned_zeros
from dials_async.runtime.machine import machine

Floats = NDArray[np.float32]

#: Rows, terms, columns: layers and gates of width 64 and 256, minibatches 10 to 512, narrow outputs.
SIZES = (
    (16, 64, 64),
    (64, 64, 64),
    (128, 64, 64),
    (512, 64, 64),
    (10, 64, 192),
    (16, 64, 192),
    (128, 64, 192),
    (16, 128, 384),
    (128, 256, 384),
    (128, 128, 128),
    (128, 256, 256),
    (128, 64, 5),
    (128, 64, 16),
)

#: Vectors that depend on themselves alone: enough for two operations a cycle that take four.
CHAINS = 10 if HAS_WIDE_REGISTERS else 5


@llvm_code
def _multiply_add(typing_context, count, start):
    """``count`` times CHAINS fused multiply-adds of vectors; one of the results."""

    def code(context, builder, signature, values):
        factor = v.broadcast(builder, values[1])
        chains = v.loop(
            builder,
            values[0],
            [factor] * CHAINS,
            lambda _, sums: [v.fma(builder, total, factor, factor) for total in sums],
        )
        total = chains[0]
        for chain in chains[1:]:
            total = builder.fadd(total, chain)
        return builder.extract_element(total, ir.Constant(v.INT32, 0))

    return types.float32(types.int64, types.float32), code


@jit
def peak(count: int, start: float) -> float:
    return _multiply_add(count, np.float32(start))


@jit
def ours(n: int, x: Floats, w: Floats, terms: int, columns: int, start: Floats, out: Floats) -> None:
    for _ in range(n):
        product(
            x.shape[0], terms, columns, x, 0, x.shape[1], 1, w, 0, terms * LANES, LANES, start, LANES,
            False, start, out, 0, out.shape[1],
        )  # fmt: skip


@jit
def ours_transposed(
    n: int, x: Floats, d: Floats, terms: int, columns: int, start: Floats, out: Floats
) -> None:
    for _ in range(n):
        product(
            terms,
            x.shape[0],
            columns,
            x,
            0,
            1,
            x.shape[1],
            d,
            0,
            LANES,
            d.shape[1],
            start,
            0,
            False,
            start,
            out,
            0,
            columns,
        )


@jit
def panels_of(w: Floats, terms: int, columns: int, panels: Floats) -> None:
    load_panels(w, 0, terms, columns, panels, panels[:0])


def gflops(work: Callable[[int], object], flops: float) -> float:
    """The best of seven measurements."""
    n = 1
    work(n)
    seconds = 0.0
    while seconds < 0.02:
        n *= 2
        begin = time.perf_counter()
        work(n)
        seconds = time.perf_counter() - begin
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        work(n)
        times.append(time.perf_counter() - begin)
    return n * flops / min(times) / 1e9


def repeat(function: Callable[[], object]) -> Callable[[int], None]:
    def work(n: int) -> None:
        for _ in range(n):
            function()

    return work


def figures(rows: int, terms: int, columns: int) -> list[float]:
    """Rates of the product by ours, NumPy and torch, then of that with the transpose."""
    rng = np.random.default_rng(0)
    x, d = aligned_zeros(rows, stride(terms)), aligned_zeros(rows, stride(columns))
    plain_x, w = (rng.normal(size=s).astype(np.float32) for s in ((rows, terms), (terms, columns)))
    plain_d = rng.normal(size=(rows, columns)).astype(np.float32)
    x[:, :terms], d[:, :columns] = plain_x, plain_d
    panels = aligned_zeros(padded(columns) // LANES * terms, LANES)
    panels_of(w.reshape(-1), terms, columns, panels)
    zeros, out = aligned_zeros(1, padded(columns)), aligned_zeros(*d.shape)
    gradient = np.zeros(terms * columns, np.float32)
    result, turned = np.zeros((rows, columns), np.float32), np.zeros((terms, columns), np.float32)
    tx, tw, td, tr, tt = map(torch.from_numpy, (plain_x, w, plain_d, result, turned))
    works: list[Callable[[int], object]] = [
        lambda n: ours(n, x, panels, terms, columns, zeros, out),
        repeat(lambda: np.dot(plain_x, w, result)),
        repeat(lambda: torch.mm(tx, tw, out=tr)),
        lambda n: ours_transposed(n, x, d, terms, columns, zeros, gradient),
        repeat(lambda: np.dot(plain_x.T, plain_d, turned)),
        repeat(lambda: torch.mm(tx.T, td, out=tt)),
    ]
    return [gflops(work, 2.0 * rows * terms * columns) for work in works]


def main() -> None:
    torch.set_num_threads(1)
    print(machine()["cpu"], "one thread, GFLOP/s", sep="; ")
    top = gflops(lambda n: peak(n * 1000, 0.5), 2.0 * 1000 * CHAINS * LANES)
    print(f"peak of fused multiply-adds: {top:.0f}")
    heads = ("ours", "NumPy", "torch", "x^T: ours", "NumPy", "torch")
    print(f"{'rows x terms x columns':>24}", *(f"{head:>9}" for head in heads))
    for rows, terms, columns in SIZES:
        size = f"{rows} x {terms} x {columns}"
        print(f"{size:>24}", *(f"{rate:9.1f}" for rate in figures(rows, terms, columns)), flush=True)


if __name__ == "__main__":
    main()
