# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Smooth maps of a scan at the nodes of a coarse grid, linear between them."""

from __future__ import annotations

import numpy as np


def _before(n: int, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Node before each position, and how far it is to the next."""
    place = np.linspace(0, n_nodes - 1, n)
    before = np.minimum(place.astype(int), n_nodes - 2)
    return before, place - before


def between_nodes(nodes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Linear interpolation along both axes."""
    (y, part_y), (x, part_x) = (_before(n, k) for n, k in zip(shape, nodes.shape, strict=False))
    part_y, part_x = part_y[:, np.newaxis, np.newaxis], part_x[:, np.newaxis]
    lines = nodes[y] * (1 - part_y) + nodes[y + 1] * part_y
    return lines[:, x] * (1 - part_x) + lines[:, x + 1] * part_x


def at_nodes(displacement: np.ndarray, cell: float) -> np.ndarray:
    """The values of a smooth map at nodes about a cell apart."""
    places = [
        np.linspace(0, n - 1, max(int(np.ceil(n / cell)), 2)).round().astype(int)
        for n in displacement.shape[:2]
    ]
    return displacement[np.ix_(*places)]
