# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""espm's SmoothNMF from a given start: run by `poisson_nmf.py` with an interpreter that has espm.

It needs an old HyperSpy, so it has to have an environment of its own. Arguments are a file of
counts and start, and the number of iterations. CPU seconds and divergence are printed.
"""

import sys
import time

import numpy as np
from espm.estimators import SmoothNMF
from scipy.special import xlogy


def main():
    with np.load(sys.argv[1]) as file:
        counts, loadings, spectra = (file[name].astype(float) for name in file)
    # Rows are channels there.
    x, w, h = counts.T, spectra.T, loadings.T
    model = SmoothNMF(
        n_components=len(h),
        max_iter=int(sys.argv[2]),
        no_stop_criterion=True,
        lambda_L=0,
        mu=0,
        simplex_H=False,
        simplex_W=False,
        verbose=0,
    )
    start = time.process_time()
    model.fit_transform(x, W=w.copy(), H=h.copy())
    seconds = time.process_time() - start
    y = model.W_ @ model.H_
    print(seconds, (xlogy(x, x) - xlogy(x, y) - x + y).sum())


if __name__ == "__main__":
    main()
