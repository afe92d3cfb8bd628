# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where a known pattern, or the rim of its disc, lies in a diffraction pattern, by correlation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft, ndimage
from scipy.ndimage import gaussian_filter

from emsparse_hs.stem4d._frames import as_frames, as_keep, check_dose, fill_masked, without_spikes
from emsparse_hs.stem4d.centroid import centroid

#: Frames that are transformed together, and Newton steps, each doubling the right digits.
_TOGETHER, _STEPS = 64, 5


def match_template(
    frames: ArrayLike,
    template: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    dose_per_count: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Place of a known pattern in each frame, to a fraction of a pixel.

    The place is where the correlation

    .. math:: c(s) = \sum_k I(k)\, T(k - s)

    with the template T is largest. Between pixels it is interpolated by its Fourier series
    (Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156, whose refinement by a finer grid is replaced
    by Newton's method). With H the second derivative of c, the covariance of s is

    .. math:: H^{-1} \Big( \sum_k \mathrm{var} I(k)\, \nabla T\, \nabla T^\top \Big) H^{-1}

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Counts of any real dtype and byte order.
    template : array of shape (y, x)
        A pattern without the specimen, or the mean of a scan.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default. The others, of frames and template, are
        filled from their neighbours.
    dose_per_count : float, optional
        Electrons a count.

    Returns
    -------
    positions : float64 array of shape (..., 2)
        x and y in px of the beam: where the template's centre of mass (of its pixels above the
        mean) comes to lie. NaN where a frame is empty, has NaN, or no peak in its correlation.
    sigma : float64 array of shape (..., 2)
        Standard deviations in px, from counting statistics.

    Raises
    ------
    ValueError
        If template or mask differ from a frame in shape, the template is empty or not finite, or
        the dose is not positive.
    TypeError
        If frames or template are not real numbers.

    Notes
    -----
    Intensity that is spread unevenly over the disc is taken for a shift in part. The noise of a
    mean pattern, in which the frames themselves are, is not in sigma.
    """
    return _matched(frames, template, mask, dose_per_count, _as_it_is)


def match_edge(
    frames: ArrayLike,
    template: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    dose_per_count: float = 1.0,
    smoothing: float = 1.2,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Place of the disc in each frame, by the rim alone.

    As `match_template`, with frames and template replaced by
    :math:`|\nabla \sqrt{G * I}|`, G a Gaussian: bright at the rim, dark where intensity is even
    (after Krajnak et al., Ultramicroscopy 165 (2016) 42). The root makes the noise even too
    (Bartlett, Suppl. J. R. Stat. Soc. 3 (1936) 68).

    Parameters
    ----------
    frames, template, mask, dose_per_count
        As for `match_template`.
    smoothing : float, optional
        Standard deviation of G in px, about the width of the disc's edge.

    Returns
    -------
    positions, sigma : float64 arrays of shape (..., 2)
        As from `match_template`. Sigma follows noise to first order, which is too little where the
        noise makes rims of its own: few counts, or a background far above the disc's intensity.

    Raises
    ------
    ValueError, TypeError
        As `match_template`, and if the smoothing is not positive.
    """
    if not (math.isfinite(smoothing) and smoothing > 0):
        raise ValueError(f"The smoothing is {smoothing!r} px. Give a positive number.")
    return _matched(frames, template, mask, dose_per_count, lambda stack: _rims(stack, smoothing))


def mean_template(
    frames: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    smoothing: float = 1.0,
    align: bool = False,
) -> np.ndarray:
    """Mean pattern of some frames, fit to be looked for in them.

    In a mean of the frames themselves each finds its own noise again, unshifted: a narrow peak that
    takes frames away from their true place, or leaves them without one. Blurred by a pixel it is
    gone.

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Counts of any real dtype. Those with NaN or infinity where pixels count are left out, unless
        all have them.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default. The others are filled from their neighbours.
    smoothing : float, optional
        Standard deviation of the blur in px; 0 for frames that are not those to be matched.
    align : bool, optional
        Whether frames are shifted by whole pixels to where they match their mean best, and averaged
        again. Else deflections of more than a pixel blur the rim. Single pixels that are brighter
        than all around them are taken down to these.

    Returns
    -------
    float64 array of shape (y, x)
        For `match_template`.

    Raises
    ------
    ValueError
        If there are no frames, they have fewer than two dimensions, or the mask has another shape.
    TypeError
        If the frames are not real numbers.
    """
    frames = as_frames(frames)
    stack = frames.reshape(-1, *frames.shape[-2:])
    if not len(stack):
        raise ValueError("There are no frames to take the mean of.")
    keep = as_keep(mask, stack.shape[1:])
    fine = np.isfinite(stack[:, keep]).all(axis=1)
    stack = fill_masked((stack[fine] if fine.any() else stack).astype(float), keep)
    mean = stack.mean(0)
    if align and mean.max() > mean.min():
        mean = _aligned_mean(stack, mean)
    return gaussian_filter(mean, smoothing) if smoothing else mean


def beam_is_cut(template: np.ndarray, mask: np.ndarray | None = None, *, margin: int = 1) -> bool:
    """Whether frame or mask hide a part of the beam, which correlation takes for whole.

    Parameters
    ----------
    template : array of shape (y, x)
        The pattern that is to be matched.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default.
    margin : int, optional
        Pixels along the edge of the frame in which the beam must not be.

    Returns
    -------
    bool
        True if more than 2 % of the beam's rim lie in the margin, or more than a tenth of it is
        masked. The beam is what is above half of the maximum.
    """
    background = np.percentile(template, 5)
    beam = template - background > 0.5 * (template.max() - background)
    inner = beam[margin:-margin, margin:-margin]
    rim = np.sqrt(4 * np.pi * beam.sum())
    hidden = 0.0 if mask is None else np.mean(~mask[beam])
    return bool(beam.sum() - inner.sum() > 0.02 * rim or hidden > 0.1)


def _aligned_mean(stack: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Mean of frames at the whole pixels at which they match a blurred mean best."""
    places, _ = match_template(stack, gaussian_filter(without_spikes(mean), 1.0))
    found = np.isfinite(places).all(1)
    if not found.any():
        return mean
    steps = np.round(np.median(places[found], axis=0) - places[found]).astype(int)
    moved = [
        ndimage.shift(frame, step[::-1], order=0, mode="nearest")
        for frame, step in zip(stack[found], steps, strict=True)
    ]
    return without_spikes(np.mean(moved, axis=0))


def _as_it_is(stack: np.ndarray) -> tuple[np.ndarray, Callable]:
    return stack, lambda weights: weights


def _rims(stack: np.ndarray, smoothing: float) -> tuple[np.ndarray, Callable]:
    """Rims of each frame, and the adjoint of the rims' derivative by the counts."""
    root = np.sqrt(np.maximum(gaussian_filter(stack, (0, smoothing, smoothing)), 1e-6))
    down, across = np.gradient(root, axis=(1, 2))
    rims = np.hypot(down, across)
    down, across = (part / np.maximum(rims, 1e-12) for part in (down, across))

    def adjoint(weights: np.ndarray) -> np.ndarray:
        """Weights of the counts that act as these weights of the rims do."""
        slope = np.gradient(weights * down, axis=1) + np.gradient(weights * across, axis=2)
        return gaussian_filter(-slope / (2 * root), (0, smoothing, smoothing))

    return rims, adjoint


def _matched(frames, template, mask, dose_per_count: float, transform: Callable):
    """Places of the transformed template in the transformed frames, some frames at a time."""
    frames = as_frames(frames)
    check_dose(dose_per_count)
    shape = frames.shape[-2:]
    keep = as_keep(mask, shape)
    template = _checked_template(template, shape, keep)
    beam = centroid(template, threshold=1.0)
    seen = transform(template[None])[0][0]
    # A level that is everywhere would correlate with the extent of the frame.
    correlation = _Correlation(seen - np.percentile(seen[keep], 5))
    stack = frames.reshape(math.prod(frames.shape[:-2]), *shape)
    positions, sigma = np.empty((len(stack), 2)), np.empty((len(stack), 2))
    for start in range(0, len(stack), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        counts = fill_masked(stack[part].astype(np.float64), keep)
        # A frame with NaN is its own affair: zeros have no peak.
        usable = np.isfinite(counts).all((1, 2))
        counts[~usable] = 0
        seen, adjoint = transform(counts)
        shifts, weights = correlation.peaks(seen)
        noise = np.maximum(counts, 0) / dose_per_count
        variances = [(noise * adjoint(weight) ** 2).sum((1, 2)) for weight in weights]
        positions[part] = beam + shifts
        sigma[part] = np.sqrt(np.stack(variances, axis=-1))
        lost = ~usable | ~np.isfinite(positions[part]).all(1)
        positions[part][lost] = sigma[part][lost] = np.nan
    result = (*frames.shape[:-2], 2)
    return positions.reshape(result), sigma.reshape(result)


def _checked_template(template: ArrayLike, shape: tuple[int, ...], keep) -> np.ndarray:
    pattern = as_frames(template).astype(float)
    if pattern.shape != shape:
        raise ValueError(
            f"The reference pattern has shape {pattern.shape}, a frame {shape}. Pass one pattern "
            "of the same detector, with the same binning."
        )
    pattern = fill_masked(pattern[None], keep)[0]
    if not np.isfinite(pattern).all() or not pattern.max() > pattern.min():
        raise ValueError(
            "The reference pattern is empty, even, or has NaN. Pass one with a bright disc, or "
            "mask its bad pixels."
        )
    return pattern


class _Correlation:
    """Correlation with one template, at any place between the pixels."""

    def __init__(self, template: np.ndarray) -> None:
        self.shape = template.shape
        # Room for the template to leave the frame at one side and not come back at the other.
        self.padded = tuple(fft.next_fast_len(n + n // 2) for n in template.shape)
        self.spectrum = fft.fft2(template, self.padded)
        self.frequencies = [2 * np.pi * np.fft.fftfreq(n) for n in self.padded]

    def peaks(self, frames: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Shifts (x, y) of the template to the highest correlation, and what moves them.

        The latter are two arrays of weights (for x and for y) of the frames' shape: how much a
        unit more in a pixel shifts the result.
        """
        product = fft.fft2(frames, self.padded) * self.spectrum.conj()
        coarse = fft.ifft2(product).real
        places = np.unravel_index(coarse.reshape(len(frames), -1).argmax(1), self.padded)
        shift = np.stack(places, axis=-1).astype(float)
        start = shift = (shift + np.array(self.padded) // 2) % self.padded - (
            np.array(self.padded) // 2
        )
        for _ in range(_STEPS):
            gradient, hessian = self._derivatives(product, shift)
            step = -np.einsum("nij,nj->ni", _inverse(hessian), gradient)
            shift = shift + np.clip(step, -0.5, 0.5)
        inverse = _inverse(self._derivatives(product, shift)[1])
        # A correlation without a peak leads astray.
        shift = np.where(np.abs(shift - start).max(1, keepdims=True) < 2, shift, np.nan)
        slopes = self._slopes(shift)
        weights = [
            inverse[:, i, 0, None, None] * slopes[0] + inverse[:, i, 1, None, None] * slopes[1]
            for i in (1, 0)
        ]
        return shift[:, ::-1], weights

    def _derivatives(self, product: np.ndarray, shift: np.ndarray):
        """First and second derivatives (y, x) of the correlation."""
        waves = []
        for axis, frequency in enumerate(self.frequencies):
            wave = np.exp(1j * shift[:, axis, None] * frequency)
            waves.append(np.stack([wave, 1j * frequency * wave, -(frequency**2) * wave], axis=-1))
        moments = np.einsum("nya,nyb->nab", waves[0], product @ waves[1]).real
        moments /= math.prod(self.padded)
        gradient = np.stack([moments[:, 1, 0], moments[:, 0, 1]], axis=-1)
        mixed = moments[:, 1, 1]
        rows = [[moments[:, 2, 0], mixed], [mixed, moments[:, 0, 2]]]
        return gradient, np.moveaxis(np.array(rows), -1, 0)

    def _slopes(self, shift: np.ndarray) -> list[np.ndarray]:
        """Derivatives by y and x of the correlation's slope by each pixel of a frame."""
        down, across = self.frequencies
        wave = np.exp(-1j * shift[:, 0, None] * down)[:, :, None]
        wave = wave * np.exp(-1j * shift[:, 1, None] * across)[:, None, :] * self.spectrum
        height, width = self.shape
        return [
            fft.ifft2(wave * (1j * frequency)).real[:, :height, :width]
            for frequency in (down[:, None], across)
        ]


def _inverse(hessian: np.ndarray) -> np.ndarray:
    """Inverse of each second derivative; NaN where it is not that of a peak."""
    determinant = hessian[:, 0, 0] * hessian[:, 1, 1] - hessian[:, 0, 1] ** 2
    peak = (determinant > 0) & (hessian[:, 0, 0] < 0)
    inverse = np.full(hessian.shape, np.nan)
    inverse[peak] = np.linalg.inv(hessian[peak])
    return inverse
