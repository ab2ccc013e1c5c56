"""How kernels are written in LLVM's vectors: loads, stores, loops.

LLVM's vector of 16 floats is one register of AVX-512, two of AVX2, four of NEON. In our kernels a lane is
an output: each has one accumulator and takes its terms in order, so that neither the width of the registers
nor the size of a tile changes a bit of a result.

Arrays are C-contiguous float32 unless it is said; a place is counted in elements from an array's beginning.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from dials_async.kernels.arithmetic import llvm_function

#: Floats of a vector; of a narrow one, for matrices of no more columns.
LANES, NARROW = 16, 8

#: Vectors of a row that a kernel keeps in registers at a time.
MOST_VECTORS = 4

INT32, INT64 = ir.IntType(32), ir.IntType(64)

#: The alignment of an element: arrays may begin anywhere.
_ALIGNMENT = INT32(4)


def vector(lanes: int = LANES) -> Any:
    """The type of a vector."""
    return ir.VectorType(ir.FloatType(), lanes)


ZERO = ir.Constant(vector(), [0.0] * LANES)


def _indices(numbers: Sequence[int]) -> Any:
    return ir.Constant(ir.VectorType(INT32, len(numbers)), list(numbers))


def padded(n: int) -> int:
    """``n`` rounded up to whole vectors."""
    return -(-n // LANES) * LANES


def stride(n: int) -> int:
    """Floats from row to row of a matrix with ``n`` columns: an odd number of vectors.

    With an even one the rows of a column would share few sets of the cache.
    """
    vectors = -(-n // LANES)
    return (vectors + 1 - vectors % 2) * LANES if n else 0


def data(context: Any, builder: Any, kind: Any, array: Any, *places: Any) -> Any:
    """The address of the element at the sum of ``places`` in an array of Numba type ``kind``."""
    if kind.layout != "C":
        raise TypeError(f"an array of layout {kind.layout}, not C: {kind}")
    return address(builder, context.make_array(kind)(context, builder, array).data, *places)


def address(builder: Any, base: Any, *places: Any) -> Any:
    """``base`` moved by each of ``places`` elements."""
    for place in places:
        base = builder.gep(base, [place])
    return base


def parts(builder: Any, row: Any, n: int) -> list[Any]:
    """Addresses of the first ``n`` vectors of a row."""
    return [address(builder, row, INT64(k * LANES)) for k in range(n)]


def load(builder: Any, at: Any, lanes: int = LANES) -> Any:
    """The vector at an address."""
    return builder.load(builder.bitcast(at, vector(lanes).as_pointer()), align=4)


def store(builder: Any, value: Any, at: Any) -> None:
    """Store a vector at an address."""
    builder.store(value, builder.bitcast(at, value.type.as_pointer()), align=4)


def first_lanes(builder: Any, count: Any, lanes: int = LANES) -> Any:
    """A mask of the first ``count`` (int64) lanes."""
    undefined = ir.Constant(ir.VectorType(INT32, lanes), ir.Undefined)
    limit = builder.insert_element(undefined, builder.trunc(count, INT32), INT32(0))
    limits = builder.shuffle_vector(limit, undefined, _indices([0] * lanes))
    return builder.icmp_signed("<", _indices(range(lanes)), limits)


def load_part(builder: Any, at: Any, mask: Any) -> Any:
    """The vector at an address, 0 and not read where ``mask`` is not set."""
    kind, pointer = vector(), vector().as_pointer()
    name = f"llvm.masked.load.v{LANES}f32.p0"
    function = llvm_function(builder, name, kind, pointer, INT32, mask.type, kind)
    return builder.call(function, [builder.bitcast(at, pointer), _ALIGNMENT, mask, ZERO])


def store_part(builder: Any, value: Any, at: Any, mask: Any) -> None:
    """Store those lanes of a vector whose ``mask`` is set."""
    pointer = value.type.as_pointer()
    name = f"llvm.masked.store.v{value.type.count}f32.p0"
    function = llvm_function(builder, name, ir.VoidType(), value.type, pointer, INT32, mask.type)
    builder.call(function, [value, builder.bitcast(at, pointer), _ALIGNMENT, mask])


def broadcast(builder: Any, number: Any, lanes: int = LANES) -> Any:
    """A float in all lanes."""
    undefined = ir.Constant(vector(lanes), ir.Undefined)
    first = builder.insert_element(undefined, number, INT32(0))
    return builder.shuffle_vector(first, undefined, _indices([0] * lanes))


def lanes_of(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    """A vector of the given lanes of ``a`` and, from its width on, of ``b``."""
    return builder.shuffle_vector(a, b, _indices(lanes))


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """A * b + c, of floats or vectors, rounded once."""
    kind = a.type
    lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    function = llvm_function(builder, f"llvm.fma.{lanes}f32", kind, kind, kind, kind)
    return builder.call(function, [a, b, c])


def loop(
    builder: Any, count: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]
) -> list[Any]:
    """``carried = body(k, carried)`` for k = 0 .. count - 1 (int64); returns what it is in the end."""
    before = builder.block
    head, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", count, INT64(0)), head, after)
    builder.position_at_end(head)
    k = builder.phi(INT64)
    entering = [builder.phi(value.type) for value in carried]
    leaving = list(body(k, list(entering)))
    following = builder.add(k, INT64(1))
    end = builder.block
    for phi, first, next_one in zip([k, *entering], [INT64(0), *carried], [following, *leaving], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_one, end)
    builder.cbranch(builder.icmp_signed("<", following, count), head, after)
    builder.position_at_end(after)
    results = []
    for first, last in zip(carried, leaving, strict=True):
        result = builder.phi(first.type)
        result.add_incoming(first, before)
        result.add_incoming(last, end)
        results.append(result)
    return results


def by_size(builder: Any, size: Any, largest: int, write: Callable[[int], None]) -> None:
    """``write(n)`` for the n = ``size`` (int64) in 1 .. largest that turns up when the kernel runs."""
    after = builder.append_basic_block("done")
    cases = [builder.append_basic_block(f"size{n}") for n in range(1, largest + 1)]
    choice = builder.switch(size, after)
    for n, case in enumerate(cases, start=1):
        choice.add_case(INT64(n), case)
        builder.position_at_end(case)
        write(n)
        builder.branch(after)
    builder.position_at_end(after)


def whole_or_part(
    builder: Any,
    columns: Any,
    size: int,
    write: Callable[[Callable[[Sequence[Any], Any], None]], None],
    lanes: int = LANES,
) -> None:
    """``write(put)`` with ``put(row, at)`` that stores the first ``columns`` (int64) of ``size`` vectors.

    Twice in the code, for all columns and for some, decided once: processors of AMD take long to store under
    a mask.
    """
    offsets = [k * lanes for k in range(size)]
    masks = [first_lanes(builder, builder.sub(columns, INT64(offset)), lanes) for offset in offsets]

    def put(row: Sequence[Any], at: Any) -> None:
        for value, offset in zip(row, offsets, strict=True):
            store(builder, value, address(builder, at, INT64(offset)))

    def put_part(row: Sequence[Any], at: Any) -> None:
        for value, offset, mask in zip(row, offsets, masks, strict=True):
            store_part(builder, value, address(builder, at, INT64(offset)), mask)

    with builder.if_else(builder.icmp_signed(">=", columns, INT64(size * lanes))) as (whole, part):
        with whole:
            write(put)
        with part:
            write(put_part)


def read_whole_or_part(
    builder: Any, columns: Any, size: int, write: Callable[[Callable[[Any], list[Any]]], None]
) -> None:
    """``write(get)`` with ``get(at)`` that loads the first ``columns`` (int64) of ``size`` vectors, else 0.

    Twice in the code, as :func:`whole_or_part`.
    """
    offsets = [INT64(k * LANES) for k in range(size)]
    masks = [first_lanes(builder, builder.sub(columns, offset)) for offset in offsets]

    def get(at: Any) -> list[Any]:
        return [load(builder, address(builder, at, offset)) for offset in offsets]

    def get_part(at: Any) -> list[Any]:
        places = [address(builder, at, offset) for offset in offsets]
        return [load_part(builder, place, mask) for place, mask in zip(places, masks, strict=True)]

    with builder.if_else(builder.icmp_signed(">=", columns, INT64(size * LANES))) as (whole, part):
        with whole:
            write(get)
        with part:
            write(get_part)
