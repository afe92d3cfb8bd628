# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How many variants a domain needs, by the error of prediction that each number would have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emsparse_hs.unit_cell.compression import all_abundances
from emsparse_hs.unit_cell.dictionary import fit_atoms, fourier_basis, mixtures, parts
from emsparse_hs.unit_cell.fitting import NEIGHBOURHOOD, DomainFit, fit_domains
from emsparse_hs.unit_cell.lattice import LatticeFit
from emsparse_hs.unit_cell.lock_in import cell_length

#: Most variants that are tried.
_MOST = 4
#: Another variant has to lower the error of prediction by this part of what the scan varies by.
_LEAST_GAIN = 0.002


class VariantTrial(NamedTuple):
    """How well a number of variants does.

    Attributes
    ----------
    n_variants : int
        Of each domain.
    error : float
        Expected error for new counts at the same positions, beyond their noise, as a part of the
        variance of the scan: misfit plus twice the noise that each free number follows (Mallows,
        Technometrics 15 (1973) 661).
    """

    n_variants: int
    error: float


def choose_n_variants(
    scores: np.ndarray,
    lattice: LatticeFit,
    indices: list[np.ndarray],
    n_domains: int | None = None,
) -> tuple[DomainFit, list[VariantTrial]]:
    """Fit with one variant, two and so on, as long as another one helps.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    lattice : LatticeFit
        Of the scan.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.
    n_domains : int, optional
        In each lattice. Found by default.

    Returns
    -------
    DomainFit
        Of the chosen number.
    list of VariantTrial
        What was tried.
    """
    total = float(((scores - scores.mean((0, 1))) ** 2).sum())
    fits: list[DomainFit] = []
    sums: list[tuple[float, float]] = []
    errors: list[float] = []
    for n in range(1, _MOST + 1):
        fits.append(fit_domains(scores, lattice, indices, n_domains, n))
        sums.append(_misfit(scores, fits[-1], indices))
        # Noise is what the last one leaves; the others leave noise and what they can't describe.
        noise = min(misfit / max(scores.size - free, 1) for misfit, free in sums)
        errors = [(m - noise * (scores.size - 2 * free)) / total for m, free in sums]
        if n > 1 and errors[-2] - errors[-1] < _LEAST_GAIN:
            fits.pop()
            break
    trials = [VariantTrial(n, float(error)) for n, error in enumerate(errors, 1)]
    return fits[-1], trials


def _misfit(scores: np.ndarray, fit: DomainFit, indices: list[np.ndarray]) -> tuple[float, float]:
    """Sum of squares that is left, and how many numbers were free."""
    amounts = all_abundances(fit)
    left, free = 0.0, 0.0
    for label, k in enumerate(fit.lattice_of):
        own = fit.labels == label
        x, fractional, weight = scores[own], fit.alignment.fractional(k)[own], amounts[own]
        atoms = fit_atoms(x, fractional, indices[k], weight)
        for part in parts(len(x)):
            basis = fourier_basis(fractional[part], indices[k])
            fitted = mixtures(atoms, basis, weight[part])
            left += float(((x[part] - fitted) ** 2).sum())
        width = NEIGHBOURHOOD * cell_length(fit.alignment.reciprocal[k])
        free += atoms.size + fit.abundances.shape[-1] * len(x) / (4 * np.pi * width**2)
    return left, free
