"""Packed bits: what goes in comes out, in the documented order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.kernels.bits import (
    COPIED_AT_LEAST,
    fill_table,
    make_lists,
    make_table,
    pack,
    packed_size,
    unpack,
)

from .compiled import lists_in_rows, set_bits

rows = st.integers(1, 130).flatmap(lambda n: st.lists(st.integers(0, 1), min_size=n, max_size=n))


def active(packed: np.ndarray, n_bits: int, ladders: tuple[int, int] = (0, 1)) -> list[list[int]]:
    """Active bits of every row of ``packed`` [rows, bytes]; ``ladders``: their first bit and length."""
    first, length = ladders
    ladder_bits = max(0, n_bits - first)
    entries, starts = make_table(len(packed), n_bits - ladder_bits + -(-ladder_bits // length))
    entries[:] = -7
    fill_table(packed, n_bits, *ladders, entries, starts)
    assert (entries[0, starts[-1] :] == -7).all()  # nothing is written behind the last one
    return [entries[0, start:end].tolist() for start, end in itertools.pairwise(starts)]


@pytest.mark.parametrize(("n_bits", "n_bytes"), [(0, 0), (1, 1), (8, 1), (9, 2), (37, 5), (121, 16)])
def test_bits_are_packed_eight_to_a_byte(n_bits: int, n_bytes: int) -> None:
    assert packed_size(n_bits) == n_bytes


@given(rows)
def test_unpacking_inverts_packing(bits: list[int]) -> None:
    packed = pack(np.array(bits, dtype=np.uint8))
    assert len(packed) == packed_size(len(bits))
    assert unpack(packed, len(bits)).tolist() == bits


@given(rows)
def test_bit_k_is_bit_k_modulo_8_of_byte_k_over_8(bits: list[int]) -> None:
    packed = pack(np.array(bits, dtype=np.uint8))
    assert [packed[k // 8] >> k % 8 & 1 for k in range(len(bits))] == bits


@given(rows)
def test_setting_bits_one_by_one_equals_packing_them(bits: list[int]) -> None:
    row = np.zeros(packed_size(len(bits)), dtype=np.uint8)
    set_bits(row, np.flatnonzero(bits))
    assert row.tolist() == pack(np.array(bits, dtype=np.uint8)).tolist()


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_active_bits_are_the_indices_of_the_ones_in_rising_order(n_bits: int, n: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 2, (n, n_bits), dtype=np.uint8)
    assert active(pack(table), n_bits) == [np.flatnonzero(line).tolist() for line in table]


@given(st.integers(0, 70), st.integers(1, 9), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_of_a_ladder_only_its_last_set_bit_is_listed(before: int, steps: int, n: int, seed: int) -> None:
    # Given some bits, then ladders in each of which the first few bits are set
    rng = np.random.default_rng(seed)
    bits, heights = rng.integers(0, 2, before, dtype=np.uint8), rng.integers(0, steps + 1, n)
    ladders = [[int(k < height) for k in range(steps)] for height in heights]
    row = np.concatenate([bits, np.array(ladders, dtype=np.uint8).reshape(-1)])
    # When the row is listed
    listed = active(pack(row[None]), len(row), (before, steps))
    # Then the bits are there, and the height of each ladder that has one
    tops = [before + k * steps + int(height) - 1 for k, height in enumerate(heights) if height]
    assert listed == [[*np.flatnonzero(bits).tolist(), *tops]]


@given(st.integers(1, 60))
def test_bits_at_or_above_n_are_not_seen(n_bits: int) -> None:
    """The AIP reads the d-set, which is the first bits of a longer observation."""
    packed = np.full((1, packed_size(64)), 255, dtype=np.uint8)
    assert active(packed, n_bits) == [list(range(n_bits))]
    assert unpack(packed, n_bits).tolist() == [[1] * n_bits]


def test_leading_axes_are_kept() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (2, 3, 37), dtype=np.uint8)
    assert pack(bits).shape == (2, 3, 5)
    assert np.array_equal(unpack(pack(bits), 37), bits)


@pytest.mark.parametrize("most", [1, 4, 8, 9, 31])
def test_lists_are_taken_from_the_rows_of_a_table(most: int) -> None:
    # Given a table of lists of every length, and rows of it of which some repeat
    rng, n_table, n = np.random.default_rng(most), 40, 60
    lists = [rng.integers(0, 1000, rng.integers(0, most + 1)) for _ in range(n_table)]
    entries, starts = make_table(n_table, most)
    assert entries.shape[1] == n_table * most + COPIED_AT_LEAST  # what is copied beyond the last list
    starts[1:] = np.cumsum([len(line) for line in lists])
    entries[0, : starts[-1]] = np.concatenate(lists)
    rows = rng.integers(0, n_table, n).astype(np.int32)
    rows[0] = n_table - 1
    # When all but the last one are taken
    indices, counts = make_lists(n, most)
    assert indices.shape[1] >= COPIED_AT_LEAST
    counts[-1] = 77
    lists_in_rows(entries, starts, rows, n - 1, indices, counts)
    # Then they are there, whole
    for row, line, count in zip(rows[:-1], indices, counts, strict=False):
        assert line[:count].tolist() == lists[row].tolist()
    assert counts[-1] == 77
    assert (indices[-1] == 0).all()
