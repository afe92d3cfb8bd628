# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What each tilt did to its image: displacement, gain and background, found from the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .alignment import turned, turned_back
from .axis_angle import estimate_axis_angle
from .projector import ParallelBeam

#: What `refine` can find.
REFINABLE = ("shift", "slide", "gain", "background", "angle")
#: Which part of a wrong angle one round finds: supposed at first, and the least and largest.
_PART, _PARTS = 0.25, (0.04, 1.0)
#: Standard deviation in px of the blur of what angles are found from.
_BLUR = 1.0
#: Rounds of reconstruction and refinement.
ROUNDS = 5


@dataclass(frozen=True)
class Imaging:
    """How the images of a series differ from projections of its volume, an array (tilt,) of each.

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
    axis_angle : float
        By which the tilt axis is turned in the images about their middle, one for all tilts, in
        degrees, positive from growing slices towards growing detector pixels. Shifts and slides
        are across and along the turned axis.
    """

    shifts: NDArray[np.float64]
    slides: NDArray[np.float64]
    gains: NDArray[np.float64]
    backgrounds: NDArray[np.float64]
    axis_angle: float = 0.0

    @classmethod
    def ideal(cls, n_tilts: int, shifts: NDArray | None = None) -> Imaging:
        """Nothing but known shifts."""
        zeros = np.zeros(n_tilts)
        known = zeros if shifts is None else np.asarray(shifts, dtype=np.float64)
        return cls(known, zeros, np.ones(n_tilts), zeros)

    def corrected(self, sinogram: NDArray) -> NDArray[np.float32]:
        """Projections (slice, tilt, detector) of measured ones, but for the shifts."""
        images = (sinogram - self.backgrounds[:, None]) / self.gains[:, None]
        return turned_back(images, self.axis_angle, self.slides).astype(np.float32)

    def imaged(self, projections: NDArray, middle: float | None = None) -> NDArray[np.float32]:
        """What would be measured of projections (slice, tilt, detector).

        Of some of the slices, `middle` is the place of the series' middle among them.
        """
        images = turned(projections, self.axis_angle, self.slides, middle)
        return (images * self.gains[:, None] + self.backgrounds[:, None]).astype(np.float32)

    def between(self, tilts: NDArray, wanted: NDArray) -> Imaging:
        """The same at other tilts, linear between these."""
        order = np.argsort(tilts)
        names = ("shifts", "slides", "gains", "backgrounds")
        known = {name: getattr(self, name)[order] for name in names}
        return replace(self, **{n: np.interp(wanted, tilts[order], v) for n, v in known.items()})


def refine(
    sinogram: NDArray,
    operator: ParallelBeam,
    reconstruct: Callable[[NDArray, ParallelBeam], NDArray],
    what: Sequence[str] = ("shift", "gain", "background"),
    n_rounds: int = ROUNDS,
) -> Imaging:
    r"""Find what each tilt did to its image, alternating with the reconstruction.

    In each round the volume is reconstructed from what is known, and each image b is fitted, by
    linear least squares, with its projection p:

    .. math::

        b \approx g \, (p - \delta \, \partial_t p - \epsilon \, \partial_s p
            + \phi \, (t \, \partial_s p - s \, \partial_t p)) + c

    The angle :math:`\phi` between tilt axis and slices is one for all tilts and is fitted to all
    of them together. The volume takes over most of a turn, so that the angle starts from
    `estimate_axis_angle`, and goes on by the line through the last two steps. Slides and shifts
    hardly hide it where the specimen goes on along the axis; of simulated particles slides explain
    a tenth of what a turn does. They hide it where there is a single compact particle, which a turn
    displaces by as much as slides that go with cosine and sine of the tilt.

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
    what : sequence of {"shift", "slide", "gain", "background", "angle"}, optional
        What is looked for: displacements across and along the tilt axis, gain, background, and the
        angle of the tilt axis, for which the sinogram should be of all slices: the images are
        turned about its middle.
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
    if "angle" in what:
        imaging = replace(imaging, axis_angle=estimate_axis_angle(sinogram, operator.tilts))
    tried: list[tuple[float, float]] = []
    for _ in range(n_rounds):
        projector = operator.with_shifts(imaging.shifts)
        measured = imaging.corrected(sinogram)
        projections = projector.forward(reconstruct(measured, projector))
        updated = _updated(imaging, measured, projections, what, operator.tilts)
        if "angle" in what:
            tried.append((imaging.axis_angle, updated.axis_angle - imaging.axis_angle))
            updated = replace(updated, axis_angle=_next_angle(tried, max(measured.shape)))
        imaging = updated
    return imaging


def _next_angle(tried: Sequence[tuple[float, float]], size: int) -> float:
    """Angle to go on with, from those that were tried and the steps that each round found.

    The volume takes over most of a turn, so that steps are a small part of what is missing: which
    part is told by the last two of them.
    """
    angle, step = tried[-1]
    part = _PART
    if len(tried) > 1 and angle != tried[-2][0]:
        part = (tried[-2][1] - step) / (angle - tried[-2][0])
    move = step / np.clip(part, *_PARTS)
    largest = np.rad2deg(2 / size)
    return angle + float(np.clip(move, -largest, largest))


def _updated(
    imaging: Imaging, measured: NDArray, projections: NDArray, what: Sequence[str], tilts: NDArray
) -> Imaging:
    """Imaging that explains what is left between measured and projected images."""
    pairs = [
        (image.astype(np.float64), projection.astype(np.float64))
        for image, projection in zip(
            measured.swapaxes(0, 1), projections.swapaxes(0, 1), strict=True
        )
    ]
    angle = _common_angle(pairs, what) if "angle" in what else 0.0
    gain, shift, slide, background = np.array([_fit(*pair, what, angle) for pair in pairs]).T
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
        axis_angle=imaging.axis_angle + float(np.rad2deg(angle)),
    )


def _common_angle(pairs: Sequence[tuple[NDArray, NDArray]], what: Sequence[str]) -> float:
    """Angle in radians that is best for all pairs of image and projection together.

    What else can be found of a tilt explains some of its residuals and of what a turn would do:
    the angle comes from what is left of both (Schur's complement of the normal equations). Both
    are blurred: the finest noise was smoothed with the pixels of the images, which are turned.
    """
    power = common = 0.0
    for image, projection in pairs:
        image, projection = gaussian_filter(image, _BLUR), gaussian_filter(projection, _BLUR)
        design = np.stack([c.ravel() for c in _columns(projection, what).values()], axis=1)
        both = np.stack([image.ravel(), _turn(projection).ravel()], axis=1)
        fitted = np.linalg.lstsq(design, both, rcond=None)[0]
        residual, turn = (both - design @ fitted).T
        gain = _gain(fitted[0, 0])
        power += gain**2 * (turn @ turn)
        common += gain * (turn @ residual)
    # A linear model is good for a pixel at the most.
    largest = 2 / max(pairs[0][0].shape)
    return float(np.clip(common / power, -largest, largest)) if power > 0 else 0.0


def _columns(projection: NDArray, what: Sequence[str]) -> dict[str, NDArray]:
    """What an image (slice, detector) consists of, by the name of its factor."""
    columns = {"gain": projection}
    if "shift" in what:
        columns["shift"] = -np.gradient(projection, axis=1)
    if "slide" in what and len(projection) > 1:
        columns["slide"] = -np.gradient(projection, axis=0)
    if "background" in what:
        columns["background"] = np.ones_like(projection)
    return columns


def _turn(projection: NDArray) -> NDArray[np.float64]:
    """How an image (slice, detector) changes with the angle."""
    s, t = (np.arange(n) - (n - 1) / 2 for n in projection.shape)
    if len(s) == 1:
        return np.zeros_like(projection)
    along, across = np.gradient(projection)
    return t * along - s[:, None] * across


def _gain(found: float) -> float:
    return found if found > 0 else 1.0


def _fit(
    image: NDArray, projection: NDArray, what: Sequence[str], angle: float
) -> tuple[float, ...]:
    """Gain, shift, slide and background of one image (slice, detector), at an angle in radians."""
    if angle:
        projection = projection + angle * _turn(projection)
    columns = _columns(projection, what)
    design = np.stack([column.ravel() for column in columns.values()], axis=1)
    found = dict(zip(columns, np.linalg.lstsq(design, image.ravel(), rcond=None)[0], strict=True))
    gain = _gain(found["gain"])
    # A linear model is good for a pixel at the most.
    moves = (np.clip(found.get(name, 0.0) / gain, -1, 1) for name in ("shift", "slide"))
    return gain, *moves, found.get("background", 0.0)


def _without_moves(shift: NDArray, tilts: NDArray) -> NDArray[np.float64]:
    """Shifts but for what a displacement of the volume across the axis would do."""
    radians = np.deg2rad(tilts)
    moves = np.stack([np.cos(radians), np.sin(radians)], axis=1)
    return shift - moves @ np.linalg.lstsq(moves, shift, rcond=None)[0]
