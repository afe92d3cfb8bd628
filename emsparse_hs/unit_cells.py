# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Passes over a scan for its unit cells: scores, dictionary, misfit, and patterns made anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.delayed import delayed

from emsparse_hs.blocks import Blocks
from emsparse_hs.unit_cell.compression import (
    CellDictionary,
    all_abundances,
    compress,
    domain_grams,
    domain_products,
    merged,
)
from emsparse_hs.unit_cell.fitting import DomainFit
from emsparse_hs.unit_cell.scores import (
    Scaling,
    gram_times,
    ordered,
    orthonormal,
    projected,
    row_parts,
    row_sums,
    starting_axes,
)

#: Patterns that the first axes are from, and rounds that make them those of all patterns.
_SAMPLE, _ROUNDS = 4000, 2
#: Values in that sample at most, 256 MB in float32, unless there are fewer patterns than these
#: times the scores.
_SAMPLED, _A_SCORE = 2**26, 4
#: Bytes of a chunk of patterns made anew.
_CHUNK = 2**26


class Scores(NamedTuple):
    """A scan in a few numbers a pattern."""

    #: float32 of shape (y, x, scores).
    values: np.ndarray
    scaling: Scaling


@dataclass(frozen=True)
class PlacedAtoms:
    """Which atoms are where: what `CellDictionary.predict` needs, as maps of the scan.

    Attributes
    ----------
    labels : int8 array of shape (y, x)
        Domain of each position.
    amounts : float32 array of shape (y, x, atoms)
        Abundances.
    fractional : float32 array of shape (y, x, 2)
        Position in the cell of the domain's lattice, between 0 and 1.
    """

    labels: np.ndarray
    amounts: np.ndarray
    fractional: np.ndarray

    @classmethod
    def of(cls, fit: DomainFit) -> PlacedAtoms:
        """Maps of a fit.

        Parameters
        ----------
        fit : DomainFit
            Of the scan.

        Returns
        -------
        PlacedAtoms
        """
        fractional = np.empty((*fit.labels.shape, 2), np.float32)
        for label, k in enumerate(fit.lattice_of):
            own = fit.labels == label
            fractional[own] = fit.alignment.fractional(k)[own] % 1.0
        return cls(fit.labels, all_abundances(fit), fractional)

    def maps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All of them, in the order of the attributes."""
        return self.labels, self.amounts, self.fractional


def find_scores(
    blocks: Blocks,
    n_scores: int,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> Scores:
    """Principal scores of all patterns, by four passes.

    Parameters
    ----------
    blocks : Blocks
        Of the scan, nothing of its navigation masked.
    n_scores : int
        How many numbers a pattern; fewer if it has fewer pixels.
    show_progressbar, num_workers
        As in HyperSpy.

    Returns
    -------
    Scores
        Of unit noise if the data are counts.

    Raises
    ------
    ValueError
        If the data hold NaN or infinite values.
    """
    how: dict[str, Any] = {"show_progressbar": show_progressbar, "num_workers": num_workers}
    sums = blocks.reduce(row_sums, np.add, **how)
    if not np.isfinite(sums).all():
        raise ValueError(
            "The data hold NaN or infinite values. Replace them, such as with "
            "s.data = np.nan_to_num(s.data)."
        )
    scaling = Scaling.of_mean(sums[:-1] / sums[-1])
    n_patterns = max(min(_SAMPLE, _SAMPLED // blocks.n_features), _A_SCORE * n_scores)
    axes = starting_axes(blocks.sample(n_patterns), scaling, n_scores)
    for _ in range(_ROUNDS):
        axes = orthonormal(blocks.reduce(gram_times, np.add, scaling, axes, **how))
    values = blocks.map(
        projected, scaling, axes, output_shape=(axes.shape[1],), dtype=np.float32, **how
    )
    values, _ = ordered(values, axes, n_scores)
    return Scores(values, scaling)


def fit_dictionary(
    blocks: Blocks,
    scaling: Scaling,
    fit: DomainFit,
    indices: list[np.ndarray],
    rank: int | None = None,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> CellDictionary:
    """Dictionary in counts, by one pass.

    Parameters
    ----------
    blocks : Blocks
        Of the scan.
    scaling : Scaling
        From `find_scores`.
    fit : DomainFit
        Of the scan.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.
    rank : int, optional
        Of the dictionary. What stands out of the noise by default.
    show_progressbar, num_workers
        As in HyperSpy.

    Returns
    -------
    CellDictionary
    """
    placed = PlacedAtoms.of(fit)
    of_domains = [indices[k] for k in fit.lattice_of]
    products, squares = blocks.reduce(
        domain_products,
        merged,
        scaling,
        of_domains,
        per_pixel=placed.maps(),
        show_progressbar=show_progressbar,
        num_workers=num_workers,
    )
    labels, amounts, fractional = (
        m.reshape(m.shape[0] * m.shape[1], *m.shape[2:]) for m in placed.maps()
    )
    grams = domain_grams(labels, amounts, fractional, of_domains)
    found = compress(grams, products, squares, fit.labels.size, scaling, rank)
    coefficients, patterns, singular_values = found
    return CellDictionary(
        coefficients,
        patterns,
        scaling.mean,
        indices,
        fit.lattice_of,
        placed.amounts.shape[-1],
        singular_values,
    )


def misfit_sums(
    blocks: Blocks,
    dictionary: CellDictionary,
    placed: PlacedAtoms,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> np.ndarray:
    """How far the patterns of a dictionary are from the data, by one pass.

    Parameters
    ----------
    blocks : Blocks
        Of the scan.
    dictionary : CellDictionary
        Of the scan.
    placed : PlacedAtoms
        Which atoms are where.
    show_progressbar, num_workers
        As in HyperSpy.

    Returns
    -------
    float64 array of shape (y, x, 4)
        Of each pattern the sums of squares of what is left and of the distance from the mean
        pattern, the sum of counts, and the sum of squares of what is left in units of the noise of
        expected counts.
    """
    return blocks.map(
        _misfit,
        dictionary,
        per_pixel=placed.maps(),
        output_shape=(4,),
        show_progressbar=show_progressbar,
        num_workers=num_workers,
    )


def _misfit(rows, labels, amounts, fractional, dictionary: CellDictionary) -> np.ndarray:
    sums = np.empty((len(rows), 4))
    # Where hardly anything is expected, the noise is not known to be less than this.
    floor = np.maximum(0.05 * dictionary.mean, 1e-3 * dictionary.mean.mean() + 1e-30)
    for part in row_parts(rows):
        counts = rows[part].astype(np.float32)
        expected = dictionary.predict(labels[part], amounts[part], fractional[part])
        left = counts - expected
        sums[part, 0] = np.einsum("nk,nk->n", left, left)
        sums[part, 1] = ((counts - dictionary.mean) ** 2).sum(1)
        sums[part, 2] = counts.sum(1)
        sums[part, 3] = (left**2 / np.maximum(expected, floor)).sum(1)
    return sums


def reconstruction(
    dictionary: CellDictionary, placed: PlacedAtoms, frame: tuple[int, int]
) -> da.Array:
    """Patterns made anew, some lines of the scan at a time.

    Parameters
    ----------
    dictionary : CellDictionary
        Of the scan.
    placed : PlacedAtoms
        Which atoms are where.
    frame : (int, int)
        Shape of a pattern.

    Returns
    -------
    dask array of shape (y, x, *frame)
        float32 counts.
    """
    n_y, n_x = placed.labels.shape
    lines = max(_CHUNK // (4 * n_x * int(np.prod(frame))), 1)
    shared = delayed(dictionary, traverse=False)
    parts = []
    for start in range(0, n_y, lines):
        own = [values[start : start + lines] for values in placed.maps()]
        task = delayed(_patterns)(shared, *own, frame)
        shape = (*own[0].shape, *frame)
        parts.append(da.from_delayed(task, shape, dtype=np.float32))
    return da.concatenate(parts)


def _patterns(dictionary, labels, amounts, fractional, frame) -> np.ndarray:
    flat = (a.reshape(labels.size, *a.shape[2:]) for a in (labels, amounts, fractional))
    return dictionary.predict(*flat).reshape(*labels.shape, *frame)
