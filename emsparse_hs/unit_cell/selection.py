# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How many variants a domain needs, by how well each number predicts what is held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emsparse_hs.unit_cell.compression import all_abundances
from emsparse_hs.unit_cell.dictionary import fit_atoms, fourier_basis, mixtures, parts
from emsparse_hs.unit_cell.fitting import DomainFit, fit_domains
from emsparse_hs.unit_cell.held_out import ThinnedScores, advantage, noise_variance
from emsparse_hs.unit_cell.lattice import LatticeFit

#: Most variants that are tried.
_MOST = 4
#: Another variant has to lower the error of prediction by this part of what the scan varies by, and
#: by so many standard errors.
_LEAST_GAIN, _LEAST_ADVANTAGE = 0.002, 2.0


class VariantTrial(NamedTuple):
    """How well a number of variants does.

    Attributes
    ----------
    n_variants : int
        Of each domain.
    error : float
        Mean square error of predicting scores that were held out, beyond their noise, as a part of
        the variance of the scan. Differences are surer than the level, which depends on how well
        the noise is known.
    advantage : float
        How much less it is than with one variant less, in standard errors. Infinite for the first.
    """

    n_variants: int
    error: float
    advantage: float


def choose_n_variants(
    scores: np.ndarray,
    lattice: LatticeFit,
    indices: list[np.ndarray],
    n_domains: int | None = None,
) -> tuple[DomainFit, list[VariantTrial]]:
    """Fit with one variant, two and so on, as long as another one predicts better.

    Each trial is fitted to nine tenths of what the electrons say, and predicts the last tenth.

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
        Of the chosen number, to all of the scores.
    list of VariantTrial
        What was tried.
    """
    # Domains are judged by scores that are thinned again, with seed 0.
    thin = ThinnedScores.of(scores, noise_variance(scores), seed=1)
    total = float(((scores - scores.mean((0, 1))) ** 2).sum())
    trials: list[VariantTrial] = []
    before = None
    for n in range(1, _MOST + 1):
        fit = fit_domains(thin.fitted, lattice, indices, n_domains, n)
        errors = _errors(thin, fit, indices)
        better = float("inf") if before is None else advantage(before, errors)
        error = (errors.sum(dtype=float) - thin.noise * scores.size) / total
        trials.append(VariantTrial(n, float(error), better))
        before = errors
        if n > 1 and (trials[-2].error - error < _LEAST_GAIN or better < _LEAST_ADVANTAGE):
            n -= 1
            break
    return fit_domains(scores, lattice, indices, n_domains, n), trials


def _errors(thin: ThinnedScores, fit: DomainFit, indices: list[np.ndarray]) -> np.ndarray:
    """Squared errors of the prediction of held-out scores, (positions,)."""
    amounts = all_abundances(fit)
    errors = np.empty(fit.labels.shape, np.float32)
    for label, k in enumerate(fit.lattice_of):
        own = fit.labels == label
        fractional, weight = fit.alignment.fractional(k)[own], amounts[own]
        atoms = fit_atoms(thin.fitted[own], fractional, indices[k], weight)
        left = thin.held_out[own]
        for part in parts(len(left)):
            basis = fourier_basis(fractional[part], indices[k])
            left[part] -= mixtures(atoms, basis, weight[part])
        errors[own] = np.einsum("nr,nr->n", left, left)
    return errors.ravel()
