# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Scans that are Fourier series of the position in a cell, summed wave by wave, and the truth."""

from dataclasses import dataclass

import numpy as np
import pytest

#: A cell of about 8 by 7 px that is neither square nor along the axes.
RECIPROCAL = np.array([[0.117, 0.041], [-0.032, 0.139]])


@dataclass
class SeriesScan:
    """Scores of a scan and what they were made of."""

    reciprocal: np.ndarray
    indices: np.ndarray
    #: (domains, variants, terms, scores): constant, cosines, sines.
    atoms: np.ndarray
    labels: np.ndarray
    amounts: np.ndarray
    shift: np.ndarray
    clean: np.ndarray
    scores: np.ndarray


def waves(atom, indices, fractional):
    """The series of an atom at some positions, one wave after the other."""
    m = len(indices)
    total = np.zeros((*fractional.shape[:-1], atom.shape[-1])) + atom[0]
    for k, index in enumerate(indices):
        phase = 2 * np.pi * (fractional @ index)[..., np.newaxis]
        total += np.sqrt(2) * np.cos(phase) * atom[1 + k]
        total += np.sqrt(2) * np.sin(phase) * atom[1 + m + k]
    return total


def half_plane(order):
    """One of each pair of opposite nodes up to an order."""
    steps = range(-order, order + 1)
    return np.array([(h, k) for h in steps for k in steps if h > 0 or (h == 0 and k > 0)])


@pytest.fixture(scope="session")
def series_scan():
    """Function that makes a scan: of one lattice, or of as many as there are domains."""

    def make(
        shape=(64, 72),
        n_scores=6,
        labels=None,
        amounts=None,
        shift=None,
        noise=0.1,
        seed=0,
        reciprocal=RECIPROCAL,
        order=2,
        decay=0.6,
        same=0.0,
    ):
        random = np.random.default_rng(seed)
        labels = np.zeros(shape, int) if labels is None else labels
        amounts = np.ones((*shape, 1)) if amounts is None else amounts
        shift = np.zeros((*shape, 2)) if shift is None else shift
        indices = half_plane(order)
        n_domains, n_variants = labels.max() + 1, amounts.shape[-1]
        atoms = random.standard_normal((n_domains, n_variants, 2 * len(indices) + 1, n_scores))
        # Domains are alike but for a part.
        atoms[1:] = same * atoms[:1] + np.sqrt(1 - same**2) * atoms[1:]
        strength = decay ** np.abs(indices).sum(1)
        atoms *= np.concatenate([[0.3], strength, strength])[:, np.newaxis]
        middle = (np.array(shape) - 1) / 2
        positions = np.moveaxis(np.indices(shape), 0, -1) - middle + shift
        pairs = np.broadcast_to(reciprocal, (n_domains, 2, 2))
        clean = np.zeros((*shape, n_scores))
        for domain in range(n_domains):
            own = labels == domain
            fractional = positions[own] @ pairs[domain].T
            for variant in range(n_variants):
                part = waves(atoms[domain, variant], indices, fractional)
                clean[own] += amounts[own][:, variant, np.newaxis] * part
        scores = clean + noise * random.standard_normal(clean.shape)
        return SeriesScan(
            np.array(reciprocal), indices, atoms, labels, amounts, shift,
            clean, scores.astype(np.float32),
        )  # fmt: skip

    return make
