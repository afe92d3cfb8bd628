# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Factorisations of counts as arrays: estimators with scikit-learn's contract."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "counts": ["as_counts", "stack_counts"],
        "_variational": ["Posterior"],
        "clustering": ["SphericalKMeans", "smooth_directions"],
        "merging": ["Merged", "merge_components"],
        "pca": ["WeightedGramPCA"],
        "poisson_nmf": ["PoissonNMF"],
        "residuals": ["misfit"],
        "selection": ["ComponentSelection", "select_n_components"],
        "sparse_nmf": ["SparseNMF"],
        "start": ["cluster_start", "scaled_nmf_start"],
    },
)
