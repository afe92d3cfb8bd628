# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What each tilt did to its image: displacement, gain and background, found from the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as shift_array

from .projector import ParallelBeam

#: What `refine` can find.
REFINABLE = ("shift", "slide", "gain", "background")


@dataclass(frozen=True)
class Imaging:
    """How the images of a series differ from projections of its volume, an array each (tilt,).

    Attributes
    ----------
    shifts : float64 array
        Displacement across the tilt axis in px.
    slides : float64 array
        Displacement along the tilt axis in px.
    gains : float64 array
        What projections are multiplied by; 1 in the mean.
    backgrounds : float64 array
        What is added then.
    """

    shifts: NDArray[np.float64]
    slides: NDArray[np.float64]
    gains: NDArray[np.float64]
    backgrounds: NDArray[np.float64]

    @classmethod
    def ideal(cls, n_tilts: int, shifts: NDArray | None = None) -> Imaging:
        """Nothing but known shifts."""
        zeros = np.zeros(n_tilts)
        known = zeros if shifts is None else np.asarray(shifts, dtype=np.float64)
        return cls(known, zeros, np.ones(n_tilts), zeros)

    def corrected(self, sinogram: NDArray) -> NDArray[np.float32]:
        """Projections (slice, tilt, detector) of measured ones, but for the shifts."""
        images = (sinogram - self.backgrounds[:, None]) / self.gains[:, None]
        return slid(images, -self.slides)

    def imaged(self, projections: NDArray) -> NDArray[np.float32]:
        """What would be measured of projections (slice, tilt, detector)."""
        images = slid(projections, self.slides)
        return (images * self.gains[:, None] + self.backgrounds[:, None]).astype(np.float32)

    def between(self, tilts: NDArray, wanted: NDArray) -> Imaging:
        """The same at other tilts, linear between these."""
        order = np.argsort(tilts)
        return Imaging(
            *(
                np.interp(wanted, tilts[order], values[order])
                for values in (self.shifts, self.slides, self.gains, self.backgrounds)
            )
        )


def slid(sinogram: NDArray, slides: NDArray) -> NDArray[np.float32]:
    """Sinogram whose tilts are displaced along the slices, by cubic splines."""
    result = np.array(sinogram, dtype=np.float32)
    for a in np.flatnonzero(slides):
        result[:, a] = shift_array(result[:, a], (slides[a], 0), order=3, mode="nearest")
    return result


def refine(
    sinogram: NDArray,
    operator: ParallelBeam,
    reconstruct: Callable[[NDArray, ParallelBeam], NDArray],
    what: Sequence[str] = ("shift", "gain", "background"),
    n_rounds: int = 5,
) -> Imaging:
    r"""Find what each tilt did to its image, alternating with the reconstruction.

    In each round the volume is reconstructed from what is known, and each image b is fitted, by
    linear least squares, with its projection p:

    .. math:: b \approx g \, (p - \delta \, \partial_t p - \epsilon \, \partial_s p) + c

    Displacements of the volume itself, which move images by :math:`a \cos\theta + b \sin\theta`
    across the axis and by a constant along it, and a factor of all gains, can't be told from the
    images and are left out.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        What was measured.
    operator : ParallelBeam
        Projector, with the shifts to start from.
    reconstruct : callable
        Volume from projections and projector.
    what : sequence of {"shift", "slide", "gain", "background"}, optional
        What is looked for: displacements across and along the tilt axis, gain and background.
    n_rounds : int, optional
        How often.

    Returns
    -------
    Imaging
        What was found.

    Raises
    ------
    ValueError
        If something else is asked for, or nothing.
    """
    unknown = set(what) - set(REFINABLE)
    if unknown or not what:
        raise ValueError(f"Refine one or more of {REFINABLE}, not {tuple(what)!r}.")
    sinogram = operator.checked_sinogram(sinogram)
    imaging = Imaging.ideal(operator.n_tilts, operator.shifts)
    for _ in range(n_rounds):
        projector = operator.with_shifts(imaging.shifts)
        measured = imaging.corrected(sinogram)
        projections = projector.forward(reconstruct(measured, projector))
        imaging = _updated(imaging, measured, projections, what, operator.tilts)
    return imaging


def _updated(
    imaging: Imaging, measured: NDArray, projections: NDArray, what: Sequence[str], tilts: NDArray
) -> Imaging:
    """Imaging that explains what is left between measured and projected images."""
    gain, shift, slide, background = np.array(
        [
            _fit(measured[:, a].astype(np.float64), projections[:, a].astype(np.float64), what)
            for a in range(measured.shape[1])
        ]
    ).T
    gains = imaging.gains * gain if "gain" in what else imaging.gains
    # In units of the measured images.
    backgrounds = imaging.backgrounds + imaging.gains * background
    slides = imaging.slides + slide
    return replace(
        imaging,
        shifts=imaging.shifts + _without_moves(shift, tilts),
        slides=slides - slides.mean() if "slide" in what else slides,
        gains=gains / gains.mean(),
        backgrounds=backgrounds,
    )


def _fit(image: NDArray, projection: NDArray, what: Sequence[str]) -> tuple[float, ...]:
    """Gain, shift, slide and background of one image (slice, detector)."""
    columns = {"gain": projection}
    if "shift" in what:
        columns["shift"] = -np.gradient(projection, axis=1)
    if "slide" in what and len(image) > 1:
        columns["slide"] = -np.gradient(projection, axis=0)
    if "background" in what:
        columns["background"] = np.ones_like(projection)
    design = np.stack([column.ravel() for column in columns.values()], axis=1)
    found = dict(zip(columns, np.linalg.lstsq(design, image.ravel(), rcond=None)[0], strict=True))
    gain = found["gain"] if found["gain"] > 0 else 1.0
    # A linear model is good for a pixel at the most.
    moves = (np.clip(found.get(name, 0.0) / gain, -1, 1) for name in ("shift", "slide"))
    return gain, *moves, found.get("background", 0.0)


def _without_moves(shift: NDArray, tilts: NDArray) -> NDArray[np.float64]:
    """Shifts but for what a displacement of the volume across the axis would do."""
    radians = np.deg2rad(tilts)
    moves = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    return shift - moves @ np.linalg.lstsq(moves, shift, rcond=None)[0]
