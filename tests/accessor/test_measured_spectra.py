# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Measured maps whose answer is known, or that have hardly a count."""

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.io import loadmat

import emsparse_hs  # noqa: F401

QUIET = {"show_progressbar": False}


def test_columns_of_two_valences_are_told_in_eels(example):
    # Mn3O4 with columns of Mn2+ and columns of Mn3+, published with malspy.
    signal = hs.signals.Signal1D(loadmat(example("shiga_mn3o4_EELS.mat"))["datar"])
    signal.emsparse.decomposition("SparseNMF", output_dimension=2, random_state=0, **QUIET)
    spectra = signal.learning_results.factors.T
    made = signal.get_decomposition_loadings().data * spectra.sum(1)[:, None, None]
    lower, higher = np.argsort(spectra.argmax(1))
    # The L3 line of Mn3+ is some channels above that of Mn2+.
    assert spectra[higher].argmax() - spectra[lower].argmax() == 3
    share = made[lower] / made.sum(0)
    columns = [share[12, 3], share[0, 12], share[12, 20], share[23, 12]]
    np.testing.assert_array_less(0.85, columns)
    between = [share[12, 12], share[0, 3], share[0, 21], share[23, 3], share[23, 21]]
    np.testing.assert_array_less(between, 0.05)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", ["Hitachi_TM3030Plus.bcf", "test_TEM.bcf"])
def test_maps_with_hardly_a_count_have_one_component(example, name):
    signal = next(s for s in hs.load(example(name)) if s.axes_manager.signal_dimension == 1)
    assert signal.data.sum() < 7 * signal.axes_manager.navigation_size
    signal.emsparse.decomposition(output_dimension="auto", random_state=0, **QUIET)
    results = signal.learning_results
    assert results.factors.shape[1] == 1
    zero_peak = signal.data[..., : signal.axes_manager.signal_axes[0].value2index(0.12)].sum()
    np.testing.assert_allclose(results.loadings.sum(), signal.data.sum() - zero_peak, rtol=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        excess = signal.emsparse.misfit(**QUIET)
    assert np.isfinite(excess.data).all()
