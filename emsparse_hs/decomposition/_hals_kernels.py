# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loop of non-negative least squares; its numpy twin is in the tests."""

import numba
import numpy as np

from ._kernels import _OPTIONS


@numba.njit(**_OPTIONS)
def descend(products, gram, penalties, first, last, most, tol, rows):
    """Minimise w B w / 2 - a w + p w over w >= 0 for some rows, by coordinate descent.

    Parameters
    ----------
    products : float32 array of shape (n_rows, n_components)
        The vector a of each row.
    gram : float32 array of shape (n_components, n_components)
        B, symmetric.
    penalties : float32 array of shape (n_components,)
        The vector p.
    first, last : int
        Range of rows.
    most : int
        Most sweeps over a row.
    tol : float
        A row is done when no element changes by more than this fraction of their sum.
    rows : float32 array of shape (n_rows, n_components)
        Start; those of the range are replaced.
    """
    for i in range(first, last):
        for _ in range(most):
            change, total = np.float32(0), np.float32(0)
            for k in range(rows.shape[1]):
                gradient = products[i, k] - penalties[k]
                for j in range(rows.shape[1]):
                    gradient -= gram[k, j] * rows[i, j]
                old = rows[i, k]
                new = max(old + gradient / gram[k, k], np.float32(0)) if gram[k, k] > 0 else old
                rows[i, k] = new
                change = max(change, abs(new - old))
                total += new
            if change <= tol * total:
                break
