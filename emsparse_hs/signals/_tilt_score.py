# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How well left out tilts are predicted from the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emsparse_hs._tables import html_table, text_table
from emsparse_hs.signals._imaging import imaging_of
from emsparse_hs.signals._request import PRIORS, check_images
from emsparse_hs.tomography import ParallelBeam, series
from emsparse_hs.tomography.selection import LeftOut, between_neighbours, relative_errors

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram


_METHODS = (*PRIORS, "wbp", "sirt")


@dataclass(frozen=True)
class TiltScore:
    """Errors of predicted tilts, relative to the images: root of the sum of squares over theirs.

    Attributes
    ----------
    tilts : float64 array of shape (left out,)
        The tilts in degrees.
    errors : float64 array of shape (left out,)
        Of the projections of the tomogram. What was refined is interpolated between the tilts at
        which it is known.
    errors_of_neighbours : float64 array of shape (left out,)
        Of images that are interpolated linearly between the two neighbouring tilts.
    error, error_of_neighbours : float
        The same for all of them together.
    tomogram : Tomogram
        Made without them.
    """

    tilts: NDArray[np.float64]
    errors: NDArray[np.float64]
    errors_of_neighbours: NDArray[np.float64]
    error: float
    error_of_neighbours: float
    tomogram: Tomogram

    def __str__(self) -> str:
        """The score in a line."""
        return (
            f"{len(self.tilts)} tilts left out: relative error {self.error:.4g}, of interpolation "
            f"between neighbours {self.error_of_neighbours:.4g}"
        )

    def _table(self) -> tuple[str, list[str], list[list[str]]]:
        columns = zip(self.tilts, self.errors, self.errors_of_neighbours, strict=True)
        rows = [[f"{tilt:.4g}", f"{one:.4g}", f"{other:.4g}"] for tilt, one, other in columns]
        return str(self), ["Tilt (°)", "Error", "Of neighbours"], rows

    def __repr__(self) -> str:
        """Table of the errors."""
        return text_table(*self._table())

    def _repr_html_(self) -> str:
        return html_table(*self._table())


def score_tilts(signal: TiltSeries, step: int, method: str, kwargs: dict[str, Any]) -> TiltScore:
    """Score of a method; see `TiltSeries.score_tilts`."""
    check_images(signal)
    if "prior" in kwargs:
        raise ValueError(f"Priors are methods here: s.score_tilts({step}, {kwargs['prior']!r}).")
    if not isinstance(step, Integral):
        raise ValueError(f"step must be a whole number, not {step!r}.")
    if method not in _METHODS:
        raise ValueError(f"The method {method!r} is not known, choose one of {_METHODS}.")
    return score_parts(signal, LeftOut.every(len(signal.tilts), step), method, kwargs)


def score_parts(
    signal: TiltSeries, parts: LeftOut, method: str, kwargs: dict[str, Any]
) -> TiltScore:
    """The same for any tilts that are left out."""
    tilts = signal.tilts
    kept = _some(signal, parts.kept)
    shifts = kwargs.pop("shifts", None)
    measured = series.sinogram_of(_data(signal), signal.tilt_axis)
    shifts = ParallelBeam(tilts, measured.shape[2], shifts=shifts).shifts
    kwargs = kwargs | {"shifts": shifts[parts.kept]}
    if method in ("wbp", "sirt"):
        tomogram = getattr(kept, f"reconstruct_{method}")(**kwargs)
    else:
        tomogram = kept.reconstruct(method, **kwargs)
    wanted, known = tilts[parts.left_out], tilts[parts.kept]
    imaging = imaging_of(tomogram, known)
    # What was known before stays with its tilts, and what was refined lies between them.
    refined = replace(imaging, shifts=imaging.shifts - shifts[parts.kept]).between(known, wanted)
    imaging = replace(refined, shifts=refined.shifts + shifts[parts.left_out])
    operator = ParallelBeam(wanted, measured.shape[2], shifts=imaging.shifts)
    truth = np.asarray(measured[:, parts.left_out], np.float64)
    predicted = imaging.imaged(operator.forward(np.asarray(tomogram._data_aligned_with_axes)))
    others = np.asarray(measured[:, parts.kept], np.float64)
    between = between_neighbours(others, known, wanted)
    error, errors = relative_errors(predicted, truth)
    error_of_neighbours, errors_of_neighbours = relative_errors(between, truth)
    return TiltScore(wanted, errors, errors_of_neighbours, error, error_of_neighbours, tomogram)


def _some(signal: TiltSeries, indices: NDArray) -> TiltSeries:
    """Series of some of its images, with the same axes and metadata."""
    part = signal.__class__(_data(signal)[indices])
    for new, old in zip(part.axes_manager._axes[1:], signal.axes_manager._axes[1:], strict=True):
        new.name, new.units, new.scale, new.offset = old.name, old.units, old.scale, old.offset
    part.metadata.add_dictionary(signal.metadata.as_dictionary())
    part.set_tilts(signal.tilts[indices])
    return part


def _data(signal: TiltSeries):
    return signal._data_aligned_with_axes
