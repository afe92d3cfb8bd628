# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Data that are no counts any more, and the number that makes them counts again if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from emsparse_hs._warnings import warn

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF

#: Values that are looked at, and what part of the largest one is no rounding of float32.
_LOOKED_AT, _NO_ROUNDING = 2**16, 1e-6

#: Stored counts from which on it is no chance that all are multiples of a number.
_NO_CHANCE = 100

#: How far multiples may be off, and the largest one whose rounding is less than that.
_OFF, _LARGEST = 0.02, 1e5


def common_factor(values: np.ndarray) -> float | None:
    """The number of which all values are whole multiples, neighbouring ones among them.

    Parameters
    ----------
    values : float array
        Positive, of the precision of float32.

    Returns
    -------
    float or None
        None if there is none, or multiples are so large that rounding hides whether they are whole.
    """
    some = np.unique(values[:: max(1, len(values) // _LOOKED_AT)].astype(np.float64))
    gaps = np.diff(some, prepend=0.0)
    gaps[gaps < _NO_ROUNDING * some.max(initial=0)] = 0
    if not gaps.any():
        return None
    factor = gaps[gaps > 0].min()
    # The distances are better known than it is, since each is of few multiples.
    steps = np.cumsum(np.round(gaps[1:] / factor))
    if steps.any():
        factor = (some[1:] - some[0]) @ steps / (steps @ steps)
    multiples = np.round(some[0] / factor) + np.concatenate([[0], steps])
    factor = some @ multiples / (multiples @ multiples)
    whole = multiples[-1] <= _LARGEST and np.abs(some / factor - multiples).max() < _OFF
    return float(factor) if whole else None


def are_counts(counts: sparse.csr_array) -> bool:
    """Whether data are whole numbers that are not all multiples of another one.

    Counts times the gain of a camera are such multiples, and have another noise.

    Parameters
    ----------
    counts : csr_array
        As `as_counts` makes it.
    """
    return counts.dtype.kind == "u" and _gain(counts.data) == 1


def _gain(data: np.ndarray) -> int:
    """The largest number that all whole numbers are multiples of, 1 of a few."""
    if len(data) < _NO_CHANCE:
        return 1
    gain = 0
    for start in range(0, len(data), _LOOKED_AT):
        gain = int(np.gcd.reduce(data[start : start + _LOOKED_AT], initial=gain))
        if gain == 1:
            break
    return gain


def _factor(counts: sparse.csr_array) -> float | None:
    """What counts were multiplied with, if they were."""
    return _gain(counts.data) if counts.dtype.kind == "u" else common_factor(counts.data)


def how_to_count(counts: sparse.csr_array) -> str:
    """What to do with data that are no counts.

    Parameters
    ----------
    counts : csr_array
        As `as_counts` makes it, for which `are_counts` is false.

    Returns
    -------
    str
        A sentence.
    """
    factor = _factor(counts)
    if factor is None:
        return "Take the data as they were counted, without scaling, normalising or smoothing."
    return (
        f"They are whole numbers times {factor:.6g}, and counts after "
        f"s.data = (s.data / {factor:.6g}).round()."
    )


def warn_of_scaled(estimator: PoissonNMF, counts: sparse.csr_array) -> None:
    """Say so if data are no counts, and what is lost by that.

    Parameters
    ----------
    estimator : PoissonNMF
        Without a prior, data times a number have the same spectra, and nothing is said of them. If
        it is to find the number of components, that is an error later on.
    counts : csr_array
        As `as_counts` makes it.
    """
    if are_counts(counts) or estimator.n_components == "auto":
        return
    lost = "how noisy each value is"
    if estimator.prior is not None:
        lost += ", how much neighbours and the prior weigh, and the widths of abundances"
    elif _factor(counts) is not None:
        return
    warn(
        f"The data are no counts, as PoissonNMF takes them: {lost} will be wrong by what they were "
        f"scaled with. {how_to_count(counts)}"
    )
