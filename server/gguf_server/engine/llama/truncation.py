"""Which tokens may be drawn: top-k, typical, top-p, min-p over one row of logits. Pure numpy.

The same sets as llama.cpp's samplers in the order top-k, typical, top-p, min-p (the tests hold
both against each other), without its array of candidates: on a 49k vocabulary that costs 60 to
4300 microseconds a token, sorting the whole row for top-p.
"""

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]
Ids = npt.NDArray[np.intp]

_BLOCK = 128
_BUCKETS_PER_NAT = 16
_NUM_BUCKETS = 1024


def largest(row: Row, count: int) -> Ids:
    """The ids of the ``count`` largest logits, largest first."""
    size = len(row)
    if count >= size:
        return np.argsort(-row, kind="stable")
    ids = np.flatnonzero(row >= _lower_bound(row, count))
    return ids[np.argsort(-row[ids], kind="stable")[:count]]


def _lower_bound(row: Row, count: int) -> float:
    """A logit that at least ``count`` tokens reach, and hopefully few more."""
    num_blocks = len(row) // _BLOCK
    if count > num_blocks:
        return float(np.partition(row, len(row) - count)[len(row) - count])
    # As many blocks as this have a maximum that high, so as many tokens do.
    # A block is a column: rows of the matrix are compared whole, which numpy does fastest.
    tops = row[: num_blocks * _BLOCK].reshape(_BLOCK, num_blocks).max(axis=0)
    return float(np.partition(tops, num_blocks - count)[num_blocks - count])


@dataclass(frozen=True, slots=True)
class Truncation:
    """0, 1, 1 and 0 switch the four off."""

    top_k: int
    typical_p: float
    top_p: float
    min_p: float

    @property
    def is_off(self) -> bool:
        return self.top_k <= 0 and self.typical_p >= 1.0 and self.top_p >= 1.0 and self.min_p <= 0.0

    def candidates(self, row: Row, scratch: Row) -> Ids:
        """The tokens that may be drawn, in no particular order; never none.

        ``row`` has a finite maximum; ``scratch`` is overwritten.
        """
        if self.top_k <= 0 and self.typical_p >= 1.0:
            return self._of_all(row, scratch)
        ids = largest(row, self.top_k if self.top_k > 0 else len(row))
        if self.typical_p < 1.0:
            ids = ids[_typical(row[ids], self.typical_p)]
        logits = row[ids]
        keep = len(ids)
        if self.top_p < 1.0:
            sums = np.exp(logits - logits[0]).cumsum(dtype=np.float64)
            keep = int(sums.searchsorted(self.top_p * sums[-1])) + 1
        if self.min_p > 0.0:
            keep = min(keep, int(np.count_nonzero(logits >= logits[0] + log(self.min_p))))
        return ids[: max(keep, 1)]

    def _of_all(self, row: Row, scratch: Row) -> Ids:
        """top-p and min-p of the whole vocabulary, without sorting it."""
        floor = row.max() + log(self.min_p) if self.min_p > 0.0 else -np.inf
        if self.top_p >= 1.0:
            return np.flatnonzero(row >= floor)
        ids = _nucleus(row, self.top_p, scratch)
        return ids[row[ids] >= floor] if self.min_p > 0.0 else ids


def _nucleus(row: Row, mass: float, scratch: Row) -> Ids:
    """The most likely tokens that together reach ``mass``: only the last bucket is sorted."""
    np.subtract(row, row.max(), out=scratch)
    buckets = np.minimum(scratch * np.float32(-_BUCKETS_PER_NAT), _NUM_BUCKETS - 1).astype(np.intp)
    weights = np.exp(scratch, out=scratch)
    sums = np.bincount(buckets, weights=weights, minlength=_NUM_BUCKETS).cumsum()
    target = mass * sums[-1]
    last = int(sums.searchsorted(target))
    sure, edge = np.flatnonzero(buckets < last), np.flatnonzero(buckets == last)
    edge = edge[np.argsort(-weights[edge], kind="stable")]
    reached = weights[edge].cumsum(dtype=np.float64) + (sums[last - 1] if last else 0.0)
    return np.concatenate([sure, edge[: int(reached.searchsorted(target)) + 1]])


def _typical(logits: Row, mass: float) -> Ids:
    """Positions of the tokens whose surprise is nearest to the expected one, in order."""
    weights = np.exp(logits - logits[0])
    probabilities = weights / weights.sum()
    surprise = -np.log(np.maximum(probabilities, np.float32(1e-30)))
    distance = np.abs(surprise - float((probabilities * surprise).sum()))
    order = np.argsort(distance, kind="stable")
    sums = probabilities[order].cumsum(dtype=np.float64)
    keep = int(sums.searchsorted(mass, side="right")) + 1
    return np.sort(order[:keep])
