# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How many components there are, as counts that were set aside say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from emsparse_hs._tables import html_table, text_table

from ._judge import SIGNIFICANT, scores
from ._neighbours import as_scan
from ._refusals import ALL_ZERO
from ._scale import are_counts, how_to_count
from ._solver import check_known, check_parameters
from ._variational import settled, solve_variational
from .counts import as_counts, thin_counts
from .poisson_nmf import PoissonNMF
from .start import feature_sums

#: Part of the counts that models are fitted to.
SHARE = 0.7

#: Numbers of components that are tried if nobody says which.
MOST_TRIED = 8


@dataclass(frozen=True)
class ComponentSelection:
    """How well models of several numbers of components predict counts they have not seen.

    Attributes
    ----------
    candidates : int array of shape (n_candidates,)
        Numbers of components, ascending.
    gains : float64 array of shape (n_candidates,)
        Log-likelihood of the unseen counts above that for one spectrum, in nats a pixel. Models
        have 1 % of the mean spectrum mixed in, so that what was not seen before is not impossible,
        and counts in channels that were empty before don't count.
    errors : float64 array of shape (n_candidates,)
        Standard error of the difference between each gain and the highest one.
    n_components : int
        The smallest number that is not significantly worse than the best.
    share : float
        Part of the counts that the models were fitted to.
    """

    candidates: np.ndarray
    gains: np.ndarray
    errors: np.ndarray
    n_components: int
    share: float

    def _table(self) -> tuple[str, list[str], list[list[str]]]:
        below = self.gains.max() - self.gains
        rows = [
            # No minus before a zero.
            [str(number), f"{round(gain, 4) + 0.0:.4f}", f"{less:.4f} ± {error:.4f}"]
            for number, gain, less, error in zip(
                self.candidates, self.gains, below, self.errors, strict=True
            )
        ]
        plural = "s" if self.n_components > 1 else ""
        title = f"{self.n_components} component{plural}, by counts that were set aside"
        return title, ["Components", "Gain (nats per pixel)", "Below the best"], rows

    def __repr__(self) -> str:
        """Table of the evidence."""
        return text_table(*self._table())

    def _repr_html_(self) -> str:
        return html_table(*self._table())


def select_n_components(
    counts,
    candidates: Iterable[int] | None = None,
    *,
    estimator: PoissonNMF | None = None,
    scan=None,
    share: float = SHARE,
    random_state=None,
    callback: Callable[[int], object] | None = None,
) -> ComponentSelection:
    """Choose the number of components by counts that are set aside.

    Each count goes to one of two parts at random. If counts are Poisson distributed, the parts
    are independent, and have the same expectation but for a factor (binomial thinning; Neufeld
    et al., J. Mach. Learn. Res. 25 (2024) 1). Models are fitted to the first part and score by the
    likelihood of the second one.

    Parameters
    ----------
    counts : array or CSR of shape (n_pixels, n_features)
        Whole numbers.
    candidates : iterable of int, optional
        Numbers of components to compare. By default 1 to 8, or as many from that of the known
        spectra on, as far as the counts allow.
    estimator : PoissonNMF, optional
        Its other parameters are used. By default those of ``PoissonNMF()``.
    scan : tuple of int or bool array, optional
        Where the pixels are, as for `PoissonNMF.fit`.
    share : float
        Part of the counts that models are fitted to.
    random_state : int, RandomState instance or None
        Of the choice of counts, and of the starts of the fits. That of the estimator if None.
    callback : callable, optional
        Called with each number once there is a fit, in ascending order.

    Returns
    -------
    ComponentSelection
        The number, and the evidence for it.

    Raises
    ------
    ValueError
        If counts are not whole numbers, there are no candidates or not all are possible, or
        `share` is not between 0 and 1.
    """
    numbers = None if candidates is None else as_candidates(candidates)
    if not 0 < share < 1:
        raise ValueError(f"share={share!r}, and a number between 0 and 1 is needed.")
    estimator = PoissonNMF() if estimator is None else estimator
    if random_state is None:
        random_state = estimator.random_state
    held_out = _HeldOut(as_counts(counts), estimator, scan, share, random_state)
    for number in held_out.checked(numbers):
        held_out.hear(number)
        if callback is not None:
            callback(number)
    return held_out.verdict()


def as_candidates(candidates) -> np.ndarray:
    """Numbers of components to compare, each once and ascending, checked.

    Parameters
    ----------
    candidates : iterable of int
        As the user gave them.

    Returns
    -------
    int array
        At least one.

    Raises
    ------
    ValueError
        If there are none, or not all are whole numbers from 1 on.
    """
    if not np.iterable(candidates):
        raise ValueError(f"candidates={candidates!r}, and several are needed, as in range(1, 9).")
    numbers = np.unique(np.array(list(candidates)))
    if not len(numbers) or numbers.dtype.kind not in "iu" or numbers[0] < 1:
        raise ValueError(f"candidates={list(numbers)}, and whole numbers from 1 on are needed.")
    return numbers


def grow_n_components(counts, estimator: PoissonNMF, scan=None) -> ComponentSelection:
    """Add components until counts that are set aside are predicted no better any more.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    estimator : PoissonNMF
        Its parameters are used but for the number of components.
    scan : tuple of int or bool array, optional
        Where the pixels are.

    Returns
    -------
    ComponentSelection
        Numbers from 1, or from that of the known spectra, to two beyond the best.

    Raises
    ------
    ValueError
        If counts are not whole numbers.
    """
    held_out = _HeldOut(counts, estimator, scan, SHARE, estimator.random_state)
    number, most = held_out.possible()
    if most < number:
        # There is nothing to judge by.
        return ComponentSelection(np.array([number]), np.zeros(1), np.zeros(1), number, SHARE)
    held_out.hear(number)
    while number < most and held_out.since_best() < 2:
        number += 1
        held_out.hear(number)
    return held_out.verdict()


class _HeldOut:
    """Fits models to part of the counts, and scores them by the others."""

    def __init__(self, counts, estimator: PoissonNMF, scan, share: float, random_state) -> None:
        if not are_counts(counts):
            raise ValueError(
                "Data must be counts to choose the number of components, so that each count can be "
                f"in one of two parts. {how_to_count(counts)} Or say how many components there are."
            )
        if not counts.nnz:
            raise ValueError(ALL_ZERO)
        random = check_random_state(random_state)
        self.known, self.unseen = thin_counts(counts, share, random)
        self.seed = random.randint(2**31 - 1)
        self.keep = None if scan is None else as_scan(scan, counts.shape[0])
        self.estimator = clone(estimator).set_params(n_components="auto")
        check_known(self.estimator, counts.shape[1])
        self.share = share
        self.numbers: list[int] = []
        self.scores: list[np.ndarray] = []

    def possible(self) -> tuple[int, int]:
        """Least and greatest number of components that can be fitted."""
        known = self.estimator.known_components
        pixels, channels = np.diff(self.known.indptr), feature_sums(self.known)
        most = min(np.count_nonzero(pixels), np.count_nonzero(channels))
        return 1 if known is None else max(1, len(known)), int(most)

    def checked(self, numbers: np.ndarray | None) -> list[int]:
        """Numbers that are all possible, before any is tried."""
        least, most = self.possible()
        if numbers is None:
            numbers = np.arange(least, max(min(least + MOST_TRIED - 1, most), least) + 1)
        if numbers[0] < least or numbers[-1] > most:
            raise ValueError(
                f"candidates={numbers.tolist()}, and {least} to {most} components can be had: not "
                f"fewer than are known, nor more than pixels or channels with counts in the "
                f"{self.share:.0%} that models are fitted to."
            )
        return numbers.tolist()

    def hear(self, number: int) -> None:
        """Fit a model of that many components."""
        model = clone(self.estimator).set_params(n_components=number, random_state=self.seed)
        if model.prior is None:
            loadings, components = model.fit_transform(self.known), model.components_
        else:
            loadings, components = self._of_highest_evidence(model)
        self.numbers.append(number)
        self.scores.append(scores(self.known, self.unseen, loadings, components))

    def _of_highest_evidence(self, model: PoissonNMF) -> tuple[np.ndarray, np.ndarray]:
        check_parameters(model)
        solution = solve_variational(model, self.known, self.keep, certain=False)
        assert solution.prior is not None
        found = settled(self.known, solution.components, solution.prior, self.keep)
        return found.abundances(), solution.components

    def since_best(self) -> int:
        """How many models in a row were no better than the best one before."""
        gains = np.mean(self.scores, axis=1)
        return len(gains) - 1 - int(gains.argmax())

    def verdict(self) -> ComponentSelection:
        """The smallest number that is not significantly worse than the best."""
        numbers, scores = np.array(self.numbers), np.array(self.scores)
        gains = scores.mean(1)
        best = int(gains.argmax())
        errors = (scores - scores[best]).std(1) / np.sqrt(scores.shape[1])
        enough = gains >= gains[best] - SIGNIFICANT * errors
        number = int(numbers[enough.argmax()])
        return ComponentSelection(numbers, gains, errors, number, self.share)
