# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Weighted back-projection: the inverse of the projector for many tilts and little noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .projector import ParallelBeam

#: What the ramp is multiplied by, as a function of the frequency over the highest one.
_WINDOWS: dict[str, Callable[[NDArray], NDArray]] = {
    "ramp": np.ones_like,
    "hann": lambda part: 0.5 * (1 + np.cos(np.pi * part)),
    "cosine": lambda part: np.cos(0.5 * np.pi * part),
}


def reconstruct_wbp(
    sinogram: ArrayLike, operator: ParallelBeam, window: str = "hann"
) -> NDArray[np.float32]:
    r"""Weighted back-projection.

    .. math:: x = \sum_a \Delta\theta_a \, A_a^T (h * b_a), \quad H(\nu) = |\nu| \, W(\nu),

    with each tilt weighted by its distance to its neighbours in radians (Radermacher, in: Electron
    Tomography, ed. J. Frank, 1992). The ramp h is sampled in real space, so that the mean density
    is right (Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, eq. 3.29).

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections, in density times px.
    operator : ParallelBeam
        Projector.
    window : {"hann", "cosine", "ramp"}, optional
        What the ramp is multiplied by against noise; "ramp" is nothing.

    Returns
    -------
    float32 array of shape (slice, z, y)
        Densities, negative ones included.

    Raises
    ------
    ValueError
        If the window is unknown or the sinogram has another shape.
    """
    if window not in _WINDOWS:
        raise ValueError(f"The window {window!r} is not known, choose one of {sorted(_WINDOWS)}.")
    sinogram = operator.checked_sinogram(sinogram)
    size = sinogram.shape[2]
    # Twice the size, so that both ends do not see each other.
    n = 2 * int(2 ** np.ceil(np.log2(max(size, 2))))
    distance = np.fft.fftfreq(n, 1 / n)
    with np.errstate(divide="ignore"):
        ramp = np.where(distance % 2 == 1, -1 / (np.pi * distance) ** 2, 0.0)
    ramp[0] = 0.25
    frequency = np.fft.rfftfreq(n)
    filter_ = np.fft.rfft(ramp).real * _WINDOWS[window](2 * frequency)
    weights = filter_ * _spacing(operator.tilts)[:, None]
    filtered = np.empty_like(sinogram)
    for slice_, out in zip(sinogram, filtered, strict=True):
        out[:] = np.fft.irfft(np.fft.rfft(slice_, n) * weights, n)[:, :size]
    return operator.adjoint(filtered)


def _spacing(tilts: NDArray) -> NDArray[np.float64]:
    """Angle in radians that each tilt stands for: half the way to both of its neighbours."""
    if len(tilts) < 2:
        return np.full(len(tilts), np.pi)
    order = np.argsort(tilts)
    spacing = np.empty(len(tilts))
    spacing[order] = np.gradient(np.deg2rad(tilts[order]))
    return spacing
