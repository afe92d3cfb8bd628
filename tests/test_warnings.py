# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Warnings point at the user's line, through whatever libraries it calls."""

import re
import warnings

import hyperspy.api as hs
import numpy as np
import pytest

import emsparse_hs as em
from emsparse_hs.decomposition import PoissonNMF

COUNTS = np.random.default_rng(0).poisson(3.0, (6, 7, 20)).astype(np.float32)


def signal():
    s = hs.signals.Signal1D(np.sqrt(COUNTS))
    s.learning_results.factors = np.ones((20, 1)) / 20
    s.learning_results.loadings = s.data.sum(-1).reshape(-1, 1)
    return s


CALLS = {
    "estimator": lambda: PoissonNMF(2).fit(np.sqrt(COUNTS).reshape(42, 20)),
    "fit_transform": lambda: PoissonNMF(2).fit_transform(np.sqrt(COUNTS).reshape(42, 20)),
    "few passes": lambda: PoissonNMF(2, prior=None, max_iter=1).fit(COUNTS.reshape(42, 20)),
    "few passes with prior": lambda: PoissonNMF(2, max_iter=1).fit(COUNTS.reshape(42, 20)),
    "accessor": lambda: signal().emsparse.decomposition(output_dimension=2),
    "hyperspy": lambda: signal().decomposition(
        algorithm=PoissonNMF(2), output_dimension=2, print_info=False
    ),
    "misfit": lambda: signal().emsparse.misfit(),
    "plot": lambda: signal().emsparse.plot_residuals(),
    "plotting": lambda: em.plotting.plot_residuals(signal()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_warnings_point_here(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    ours = [w for w in caught if re.search("PoissonNMF|noise of counts", str(w.message))]
    assert ours and {w.filename for w in ours} == {__file__}
