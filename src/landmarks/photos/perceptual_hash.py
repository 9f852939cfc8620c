"""Near-duplicate detection with a 64-bit perceptual hash (pHash)."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from landmarks.schema.network_format import Pixels

HASH_BITS = 64
_SIDE = 32  # side of the greyscale thumbnail that is hashed
_FREQUENCIES = 11  # enough for the 64 lowest frequencies besides the constant
_SCALE = 1 << 13  # fixed-point cosines: integer sums give the same bits on every processor
_MAX_BANDED_BITS = 7  # above, bands have fewer than 16 bits and match too many unrelated hashes
_MAX_PAIRS = 1 << 22  # candidate pairs compared at once, to bound memory

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]


def compute_perceptual_hash(pixels: Pixels) -> int:
    """Return a 64-bit hash that is robust to resizing, recompression and small colour changes.

    Each bit tells whether one of the 64 lowest DCT coefficients, without the constant, is above their median.

    Args:
        pixels: uint8 (s, s, 3), the decoded photo.

    References:
        C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1.
    """
    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    cosines, lowest = _build_transform()
    waves = (cosines @ np.asarray(grey, np.int64) @ cosines.T).ravel()[lowest]
    middle = np.sort(waves)[HASH_BITS // 2 - 1]
    return int.from_bytes(np.packbits(waves > middle).tobytes(), "big")


def count_near(references: Hashes, queries: Hashes, max_bits: int) -> Integers:
    """Count, for every query, the references within Hamming distance `max_bits`. Exact.

    Up to 7 bits, multi-index hashing is used: the hashes are cut into so many bands that two near hashes differ in at
    most one bit in some band, and only references that match in such a band are compared. Above 7 bits, all pairs are.

    Args:
        references: uint64 (n,).
        queries: uint64 (m,).
        max_bits: largest Hamming distance of a near duplicate.

    Returns:
        Counts: int64 (m,).

    References:
        M. Norouzi, A. Punjani, D. J. Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012, section 2.
    """
    # Real collections have many equal hashes; comparing distinct ones keeps them from multiplying into huge pair lists.
    unique_references, weights = np.unique(references, return_counts=True)
    unique_queries, back = np.unique(queries, return_inverse=True)
    counts = np.zeros(len(unique_queries), np.int64)
    if len(unique_references) and len(unique_queries):
        search = _search_bands if max_bits <= _MAX_BANDED_BITS else _search_all
        search(counts, unique_references, weights, unique_queries, max_bits)
    found: Integers = counts[back]
    return found


def _search_all(
    counts: Integers,
    references: Hashes,
    weights: Integers,
    queries: Hashes,
    max_bits: int,
) -> None:
    rows = max(1, _MAX_PAIRS // len(references))
    for start in range(0, len(queries), rows):
        near = np.bitwise_count(queries[start : start + rows, None] ^ references) <= max_bits
        counts[start : start + rows] = near @ weights


def _search_bands(counts: Integers, references: Hashes, weights: Integers, queries: Hashes, max_bits: int) -> None:
    # With b bands and at most 2b - 1 differing bits, some band differs in at most one bit (pigeonhole principle).
    count = max_bits // 2 + 1
    edges = [HASH_BITS * number // count for number in range(count + 1)]
    bands = [(start, end - start) for start, end in pairwise(edges)]
    for number, band in enumerate(bands):
        for query_rows, reference_rows in _match_band(references, queries, *band):
            differing = queries[query_rows] ^ references[reference_rows]
            near = np.bitwise_count(differing) <= max_bits
            for earlier in bands[:number]:  # count a pair only in the first band that finds it
                near &= np.bitwise_count(_take_band(differing, *earlier)) > 1
            np.add.at(counts, query_rows[near], weights[reference_rows[near]])


def _take_band(hashes: Hashes, shift: int, width: int) -> Hashes:
    band: Hashes = hashes >> np.uint64(shift) & np.uint64((1 << width) - 1)
    return band


def _match_band(references: Hashes, queries: Hashes, shift: int, width: int) -> Iterator[tuple[Integers, Integers]]:
    """Yield the rows of all queries and references whose bands differ in at most one bit, in blocks of bounded size."""
    keys, probes = _take_band(references, shift, width), _take_band(queries, shift, width)
    order, query_order = np.argsort(keys, kind="stable"), np.argsort(probes, kind="stable")
    keys, probes = keys[order], probes[query_order]  # sorted probes make the binary searches cache-friendly
    for flip in (0, *(1 << bit for bit in range(width))):
        flipped = probes ^ np.uint64(flip)
        first = np.searchsorted(keys, flipped)
        hit = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == flipped)
        last = np.searchsorted(keys, flipped[hit], side="right")
        for rows, places in _expand(first[hit], last):
            yield query_order[hit[rows]], order[places]


def _expand(first: Integers, last: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Yield every i with every number of its range first[i] … last[i] - 1, in blocks of bounded size."""
    lengths = last - first
    blocks = (np.cumsum(lengths) - lengths) // _MAX_PAIRS
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        pair_rows = np.repeat(rows, lengths[rows])
        starts = np.cumsum(lengths[rows]) - lengths[rows]
        yield pair_rows, np.arange(len(pair_rows)) - np.repeat(starts - first[rows], lengths[rows])


@cache
def _build_transform() -> tuple[Integers, Integers]:
    """Return the DCT basis, int64 (11, 32), and the indices of the hashed coefficients, int64 (64,)."""
    frequency, place = np.mgrid[:_FREQUENCIES, :_SIDE]
    cosines = np.rint(_SCALE * np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE))).astype(np.int64)
    row, column = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
    # Zigzag order by total frequency; the first, the constant, only measures brightness.
    lowest = np.lexsort((row, row + column))[1 : HASH_BITS + 1]
    return cosines, lowest
