# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The ways of finding the beam in diffraction patterns, and what each needs to know first."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from hyperspy.signal import BaseSignal

from emsparse_hs.blocks import Blocks
from emsparse_hs.stem4d import (
    DiscModel,
    beam_is_cut,
    centroid,
    estimate_disc,
    fit_disc,
    match_edge,
    match_template,
    mean_template,
)

#: Arguments that only some methods take.
_ARGUMENTS = {
    "centroid": ("threshold",),
    "disc": ("reference", "radius", "edge_width"),
    "template": ("reference",),
    "edge": ("reference",),
}

#: Order of the polynomial that the intensity of a disc without the specimen needs at the most.
_EVEN = 2

#: Pixels from the frame's edge that a rim must keep away from: there it has no gradient across it.
_RIM_MARGIN = 5

_CUT = (
    "The beam reaches the edge of the detector, or masked pixels hide more than a tenth of it: "
    "what is missing in the correlation makes errors larger than sigma. The method 'disc', with a "
    "radius and an edge_width if it can't estimate them, is right there."
)

#: Patterns of the scan that a disc's shape or a mean pattern is taken of.
_SAMPLE = 96


class Finder(NamedTuple):
    """A method with what it knows: arrays and scalars, fit to be sent to other processes."""

    method: str
    known: Any
    dose_per_count: float

    def about(self) -> dict:
        """What is worth keeping in the metadata."""
        if self.method != "disc":
            return {}
        return {"radius": float(self.known[0]), "edge_width": float(self.known[1])}


def check_arguments(method: str, given: dict) -> None:
    """Say what is wrong with a method's name or arguments, before anything is read.

    Raises
    ------
    ValueError
        If there is no such method, an argument is of another one, or only one of radius and edge
        width is given.
    """
    if method not in _ARGUMENTS:
        names = ", ".join(repr(name) for name in _ARGUMENTS)
        raise ValueError(f"There is no method {method!r} to find the beam. There is {names}.")
    for name, value in given.items():
        if value is not None and name not in _ARGUMENTS[method]:
            owners = " and ".join(
                repr(other) for other, names in _ARGUMENTS.items() if name in names
            )
            raise ValueError(
                f"{name} is for {owners}, not for the method {method!r}. Leave it out."
            )
    if (given["radius"] is None) != (given["edge_width"] is None):
        raise ValueError(
            "Pass both radius and edge_width, in px, or neither: then they are estimated."
        )


def finder_of(
    method: str, blocks: Blocks, pixels: np.ndarray | None, dose_per_count: float, given: dict
) -> Finder:
    """Get a method ready; some patterns are read if it must learn what the beam looks like."""
    known: Any = None
    if method == "centroid":
        known = given["threshold"]
    elif method == "disc":
        known = _disc_of(blocks, pixels, dose_per_count, given)
    else:
        own = given["reference"] is None
        patterns = _patterns(blocks, given["reference"])
        if own and not patterns.any():
            raise ValueError("The patterns have no counts to take a mean of.")
        # The scan's own noise is in its mean, and a rim is smoothed in its own way.
        smoothing = 1.0 if own and method == "template" else 0.0
        known = mean_template(patterns, pixels, smoothing=smoothing, align=own)
        if beam_is_cut(known, pixels, margin=_RIM_MARGIN if method == "edge" else 1):
            warnings.warn(_CUT, stacklevel=3)
    return Finder(method, known, float(dose_per_count))


def find_beam(
    rows: np.ndarray,
    shape: tuple[int, int],
    pixels: np.ndarray | None,
    method: str,
    known: Any,
    dose_per_count: float,
) -> np.ndarray:
    """Place (x, y) and standard deviation (x, y) of the beam in px, for each row of a block."""
    frames = rows.reshape(-1, *shape)
    if method == "centroid":
        found = centroid(
            frames, pixels, threshold=known, dose_per_count=dose_per_count, return_sigma=True
        )
    elif method == "disc":
        found = fit_disc(frames, known, pixels, dose_per_count=dose_per_count)
    else:
        match = match_template if method == "template" else match_edge
        found = match(frames, known, pixels, dose_per_count=dose_per_count)
    return np.concatenate(found, axis=-1)


def _disc_of(blocks: Blocks, pixels, dose_per_count: float, given: dict) -> DiscModel:
    """Shape of the disc, and what contrast is to be expected of the specimen."""
    how: dict[str, Any] = {"dose_per_count": dose_per_count}
    shape = None
    if given["radius"] is not None:
        shape = (float(given["radius"]), float(given["edge_width"]))
    elif given["reference"] is not None:
        patterns = _patterns(blocks, given["reference"])
        found = estimate_disc(patterns, pixels, order=_EVEN, **how)
        shape = (found.radius, found.edge_width)
    # Of the specimen's contrast, and of where it deflects the beam to, a reference knows nothing.
    return estimate_disc(_patterns(blocks, None), pixels, shape=shape, **how)


def _patterns(blocks: Blocks, reference) -> np.ndarray:
    """Patterns to learn from: those given, or some of the scan."""
    shape = blocks.signal_shape
    if reference is None:
        return blocks.sample(_SAMPLE).reshape(-1, *shape)
    if isinstance(reference, BaseSignal):
        if reference.axes_manager.navigation_dimension:
            return Blocks.of(reference).sample(_SAMPLE).reshape(-1, *_shape_of(reference, shape))
        reference = reference._data_aligned_with_axes
    reference = np.asarray(reference)
    if reference.shape[-2:] != shape:
        raise ValueError(
            f"The reference has shape {reference.shape}, a pattern {shape}. Pass a pattern of the "
            "same detector, with the same binning."
        )
    return reference


def _shape_of(reference: BaseSignal, shape: tuple[int, ...]) -> tuple[int, ...]:
    found = reference.axes_manager._signal_shape_in_array
    if found != shape:
        raise ValueError(
            f"The reference's patterns have shape {found}, those of the scan {shape}. Pass "
            "patterns of the same detector, with the same binning."
        )
    return found
