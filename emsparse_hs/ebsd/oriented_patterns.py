# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns of one phase with their orientations, each as its lattice is refined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .geometry import as_pattern_centre, corrected_centre
from .radon import centres_in_pixels, checked_patterns, normalise_patterns

#: Patterns are averaged to some so many pixels on the shorter side, and less than twice as many.
N_PIXELS = 100


class Patterns(NamedTuple):
    """Where the patterns are that bands were found in.

    Attributes
    ----------
    take : callable
        From numbers of patterns, int array of shape (n,), to the patterns, (n, height, width).
    pattern_centre : array of shape (3,) or (n_patterns, 3)
        In Bruker's convention.
    signal_mask : bool array of shape (height, width), optional
        True where a detector pixel is left out.
    """

    take: Callable[[np.ndarray], np.ndarray]
    pattern_centre: np.ndarray
    signal_mask: np.ndarray | None = None


def check_patterns(patterns: Patterns, n_patterns: int) -> None:
    """Check what can be checked before patterns are read.

    Raises
    ------
    TypeError
        If they are no `Patterns`, or can't be taken.
    ValueError
        If the pattern centre is not one, or not one for each of them.
    """
    if not isinstance(patterns, Patterns):
        raise TypeError(
            f"`patterns` is of type {type(patterns).__name__}. Pass Patterns(array.__getitem__, "
            "pattern_centre) for an array of shape (n, height, width)."
        )
    if not callable(patterns.take):
        raise TypeError(
            f"`take` is of type {type(patterns.take).__name__}, and a function from numbers to "
            "patterns is needed. Pass Patterns(array.__getitem__, pattern_centre) for an array."
        )
    as_pattern_centre(patterns.pattern_centre, n_patterns)


@dataclass(frozen=True, eq=False)
class Views:
    """Patterns of one phase with their orientations.

    Attributes
    ----------
    images : float32 array of shape (n, height, width)
        High-pass filtered, in standard deviations.
    cosines : float32 array of shape (n, height, width)
        Of the angle of each pixel's ray to the screen's normal; zero where a pixel does not count.
    centres : float64 array of shape (n, 4)
        Column, row and distance in px, and the largest secant of those angles.
    rotations : float64 array of shape (n, 3, 3)
        Row vectors in the crystal's frame times these are in the detector's.
    weights : float64 array of shape (n,)
    """

    images: np.ndarray
    cosines: np.ndarray
    centres: np.ndarray
    rotations: np.ndarray
    weights: np.ndarray


def look_at(patterns: Patterns, numbers, rotations, centre_errors, weights) -> Views:
    """Patterns with their orientations; those that are constant are left out.

    A pixel that is not finite in one of them is left out of all.

    Parameters
    ----------
    patterns : Patterns
    numbers : int array of shape (n,)
        Of the patterns.
    rotations : float64 array of shape (n, 3, 3)
        Row vectors in the crystal's frame times these are in the detector's.
    centre_errors : float64 array of shape (n, 3)
        What is to be added to the pattern centre, see `emsparse_hs.ebsd.LatticeSolution`.
    weights : float64 array of shape (n,)

    Returns
    -------
    Views

    Raises
    ------
    TypeError
        If the patterns are not real.
    ValueError
        If these are not (n, height, width), or another shape does not fit.
    """
    taken, valid = checked_patterns(patterns.take(numbers), patterns.signal_mask)
    finite = np.isfinite(taken)
    valid = valid & finite[finite.any(axis=(1, 2))].all(axis=0)
    if len(taken) != len(numbers):
        raise ValueError(
            f"`take` gave {len(taken)} patterns, and {len(numbers)} were asked for. It has to give "
            "the patterns of an int array of numbers, in their order."
        )
    centre = as_pattern_centre(patterns.pattern_centre)
    centre = centre if centre.ndim == 1 else centre[numbers]
    centre = corrected_centre(centre, centre_errors, taken.shape[1:])
    centres = centres_in_pixels(centre, taken.shape)
    taken, valid, centres = _averaged(taken, valid, centres)
    images, valid, usable = normalise_patterns(taken, ~valid)
    rows, columns = np.indices(valid.shape)
    column, row, distance = (centres[usable, i, None, None] for i in range(3))
    squares = ((columns - column) ** 2 + (rows - row) ** 2) / distance**2
    cosines = np.where(valid, 1 / np.sqrt(1 + squares), 0).astype(np.float32)
    farthest = np.sqrt(1 + (squares * valid).max(axis=(1, 2)))
    centres = np.column_stack([centres[usable], farthest])
    turned = np.ascontiguousarray(rotations[usable])
    return Views(images[usable], cosines, centres, turned, weights[usable])


def _averaged(patterns, valid, centres) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over the valid pixels of squares, so that some `N_PIXELS` remain.

    A square is valid if half of its pixels are.
    """
    size = min(valid.shape) // N_PIXELS
    if size < 2:
        return patterns, valid, centres
    height, width = (n // size * size for n in valid.shape)

    def sums(array):
        """Of each square."""
        cut = array[:height, :width].reshape(height // size, size, width // size, size)
        return cut.sum(axis=(1, 3), dtype=np.float64)

    counts = sums(valid)
    means = np.empty((len(patterns), *counts.shape))
    # One by one and in float64: neither the memory nor any dtype's range is exceeded.
    with np.errstate(invalid="ignore"):
        for mean, pattern in zip(means, patterns, strict=True):
            mean[:] = sums(np.where(valid, pattern, 0)) / np.maximum(counts, 1)
    middle = 0.5 * (size - 1)
    return means, counts >= 0.5 * size**2, (centres - (middle, middle, 0)) / size
