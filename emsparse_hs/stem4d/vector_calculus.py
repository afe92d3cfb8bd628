# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Divergence, curl, charge density and potential of fields on a scan.

Axes of arrays are (..., y, x), components are (x, y), x points to the right and y downwards, as
arrays lie.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.interpolate
from scipy.constants import angstrom, e, epsilon_0, nano

#: What the borders of a scan may be taken for.
PADS = ("mirror", None)

#: Vacuum permittivity in e/(V angstrom) and e/(V nm): 5.5263e-3 and 5.5263e-2.
PERMITTIVITY = {"angstrom": epsilon_0 * angstrom / e, "nm": epsilon_0 * nano / e}


def fill_missing(vectors: np.ndarray) -> np.ndarray:
    """Fill places without a value by interpolation between their neighbours.

    Linear within the triangles of the nearest places that have a value, the nearest value outside
    of them.

    Parameters
    ----------
    vectors : array of shape (y, x, 2)
        With NaN where there is no value.

    Returns
    -------
    array of shape (y, x, 2)
        The same array where nothing is missing, else a new one.

    Raises
    ------
    ValueError
        If no place has a value.
    """
    missing = ~np.isfinite(vectors).all(-1)
    if not missing.any():
        return vectors
    if missing.all():
        raise ValueError("No position of the scan has a value: all are NaN. Check the frames.")
    from scipy.ndimage import binary_dilation

    # Only places next to holes matter to them; triangles of all others would cost minutes.
    rim = binary_dilation(missing, np.ones((3, 3), bool), iterations=2) & ~missing
    known, holes = np.argwhere(rim), np.argwhere(missing)
    filled = vectors.copy()
    nearest = scipy.interpolate.NearestNDInterpolator(known, vectors[rim])(holes)
    try:
        linear = scipy.interpolate.LinearNDInterpolator(known, vectors[rim])(holes)
    except scipy.spatial.QhullError:
        # A line of places spans no triangle.
        linear = np.full_like(nearest, np.nan)
    filled[missing] = np.where(np.isnan(linear), nearest, linear)
    return filled


def divergence(
    vectors: np.ndarray, step: tuple[float, float], variance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    r"""Divergence :math:`\partial_x F_x + \partial_y F_y` of a map of vectors.

    Parameters
    ----------
    vectors : array of shape (..., y, x, 2)
        With NaN where there is no value. Each axis of the scan has at least three positions.
    step : (float, float)
        Distance between positions along y and x.
    variance : array of the same shape, optional
        Of each component.

    Returns
    -------
    divergence : float64 array of shape (..., y, x)
        NaN where the position has no value, or too few neighbours have.
    variance : array of shape (..., y, x) or None
        Of the divergence, from independent components. None if none was given.

    Notes
    -----
    Differences of fourth order: a wave of p positions a period loses :math:`(2 \pi / p)^4 / 30`,
    2 % at 8 positions. Beside borders and holes they are central or one-sided ones of second order
    (Fornberg, Math. Comput. 51 (1988) 699).
    """
    x = _derivative(vectors, variance, 0, -1, step[1])
    y = _derivative(vectors, variance, 1, -2, step[0])
    return x[0] + y[0], None if variance is None else x[1] + y[1]


def curl(
    vectors: np.ndarray, step: tuple[float, float], variance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    r"""Curl :math:`\partial_x F_y - \partial_y F_x` of a map of vectors.

    It is positive where the vectors turn from +x to +y, clockwise on a screen.

    Parameters
    ----------
    vectors : array of shape (..., y, x, 2)
        With NaN where there is no value. Each axis of the scan has at least three positions.
    step : (float, float)
        Distance between positions along y and x.
    variance : array of the same shape, optional
        Of each component.

    Returns
    -------
    curl : float64 array of shape (..., y, x)
        NaN where the position has no value, or too few neighbours have.
    variance : array of shape (..., y, x) or None
        Of the curl, from independent components. None if none was given.

    Notes
    -----
    The differences are those of `divergence`.
    """
    x = _derivative(vectors, variance, 1, -1, step[1])
    y = _derivative(vectors, variance, 0, -2, step[0])
    return x[0] - y[0], None if variance is None else x[1] + y[1]


#: Weights of the neighbours -2 to 2 in a derivative, the best first.
_STENCILS = (
    (1 / 12, -8 / 12, 0, 8 / 12, -1 / 12),
    (0, -1 / 2, 0, 1 / 2, 0),
    (0, 0, -3 / 2, 2, -1 / 2),
    (1 / 2, -2, 3 / 2, 0, 0),
)


def _derivative(vectors, variance, component: int, axis: int, step: float):
    """Derivative of a component along an axis, and its variance, NaN where no stencil fits."""
    values = np.moveaxis(np.asarray(vectors[..., component], float), axis, -1)
    neighbours = _neighbours(np.where(np.isfinite(values), values, np.nan))
    spread = None
    if variance is not None:
        spread = _neighbours(np.moveaxis(np.asarray(variance[..., component], float), axis, -1))
    slope, slope_variance = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    for stencil in _STENCILS:
        used = [i for i, weight in enumerate(stencil) if weight]
        found = np.sum([stencil[i] * neighbours[i] for i in used], axis=0)
        takes = np.isnan(slope) & ~np.isnan(found) & np.isfinite(values)
        slope[takes] = found[takes] / step
        if spread is not None:
            total = np.sum([stencil[i] ** 2 * spread[i] for i in used], axis=0)
            slope_variance[takes] = total[takes] / step**2
    return np.moveaxis(slope, -1, axis), np.moveaxis(slope_variance, -1, axis)


def _neighbours(values: np.ndarray) -> list[np.ndarray]:
    """Views of the neighbours -2 to 2 along the last axis, NaN beyond the borders."""
    length = values.shape[-1]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 2)], constant_values=np.nan)
    return [padded[..., i : i + length] for i in range(5)]


def potential(
    field: np.ndarray,
    step: tuple[float, float],
    pad: str | None = "mirror",
    highpass: float | None = None,
) -> np.ndarray:
    r"""Potential whose negative gradient comes nearest to a field.

    .. math:: V(k) = \frac{i\, k \cdot E(k)}{2 \pi |k|^2}, \quad V(0) = 0

    is the least-squares solution of :math:`E = -\nabla V` (Frankot and Chellappa, IEEE Trans.
    Pattern Anal. Mach. Intell. 10 (1988) 439; Lazić et al., Ultramicroscopy 160 (2016) 265).

    Parameters
    ----------
    field : array of shape (..., y, x, 2)
        Places without a value (NaN) are filled from their neighbours for the integration.
    step : (float, float)
        Distance between positions along y and x.
    pad : {"mirror", None}
        "mirror" continues the potential as its mirror image, which turns the sign of a component
        along its own axis and not across it: right for any field. It is solved by differences
        between neighbours (Southwell, J. Opt. Soc. Am. 70 (1980) 998), here exact for cubic fields.
        None takes the scan for one period of a periodic field.
    highpass : float, optional
        What is left after a Gaussian blur of this standard deviation is subtracted, in the unit of
        `step`: noise in the field makes slow waves in the potential.

    Returns
    -------
    float64 array of shape (..., y, x)
        In the field's unit times that of `step`. Its mean is zero (before NaN are put back where
        the field has no value).

    Raises
    ------
    ValueError
        If `pad` is not known, the high-pass length is not positive, or no place has a value.
    """
    if pad not in PADS:
        raise ValueError(f"pad is {pad!r}. Choose 'mirror' or None.")
    if highpass is not None and not highpass > 0:
        raise ValueError(f"highpass is {highpass}. Give a positive length, or None.")
    field = np.asarray(field, float)
    scans = field.reshape(-1, *field.shape[-3:])
    integrate = _integral_of_mirrored if pad == "mirror" else _integral_of_periodic
    result = np.empty(scans.shape[:-1])
    for values, scan in zip(result, scans, strict=True):
        values[:] = integrate(fill_missing(scan), step, highpass)
        values[~np.isfinite(scan).all(-1)] = np.nan
    return result.reshape(field.shape[:-1])


def _integral_of_periodic(field: np.ndarray, step, highpass) -> np.ndarray:
    rows, columns = field.shape[:2]
    ky = scipy.fft.fftfreq(rows, step[0])[:, None]
    kx = scipy.fft.fftfreq(columns, step[1])
    x, y = scipy.fft.fft2(np.moveaxis(field, -1, 0))
    transfer = _inverse_square(ky, kx) * _highpass(ky, kx, highpass)
    return scipy.fft.ifft2(1j * (kx * x + ky * y) * transfer / (2 * np.pi)).real


def _integral_of_mirrored(field: np.ndarray, step, highpass) -> np.ndarray:
    """Least squares of differences between neighbours, whose equations cosines make diagonal.

    They hold up to the borders, where sums of waves of a mirrored field converge slowly.
    """
    slopes_x = _between(field[..., 0]) / step[1]
    slopes_y = _between(field[..., 1].T).T / step[0]
    sources = np.zeros(field.shape[:2])
    sources[:, :-1] += slopes_x
    sources[:, 1:] -= slopes_x
    sources[:-1] += slopes_y
    sources[1:] -= slopes_y
    ky, kx = (np.arange(n) / (2 * n * one) for n, one in zip(field.shape[:2], step, strict=True))
    # Of differences, not of slopes.
    by_y, by_x = (
        np.sin(np.pi * k * one) / (np.pi * one) for k, one in zip((ky, kx), step, strict=True)
    )
    transfer = _inverse_square(by_y[:, None], by_x) * _highpass(ky[:, None], kx, highpass)
    transformed = scipy.fft.dctn(sources, type=2, norm="ortho") * transfer / (4 * np.pi**2)
    return scipy.fft.idctn(transformed, type=2, norm="ortho")


def _between(values: np.ndarray) -> np.ndarray:
    """Mean of a smooth function between neighbours on the last axis, exact for cubics."""
    if values.shape[-1] < 4:
        return (values[..., 1:] + values[..., :-1]) / 2
    means = np.empty((*values.shape[:-1], values.shape[-1] - 1))
    inner = 13 * (values[..., 1:-2] + values[..., 2:-1]) - values[..., :-3] - values[..., 3:]
    means[..., 1:-1] = inner / 24
    at_border = np.array([9, 19, -5, 1]) / 24
    means[..., 0] = values[..., :4] @ at_border
    means[..., -1] = values[..., :-5:-1] @ at_border
    return means


def _inverse_square(ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """1 / |k|^2 without the constant."""
    square = ky**2 + kx**2
    square[0, 0] = np.inf
    return 1 / square


def _highpass(ky: np.ndarray, kx: np.ndarray, length: float | None):
    """What a Gaussian blur of a standard deviation takes away."""
    if length is None:
        return 1.0
    return -np.expm1(-2 * np.pi**2 * (ky**2 + kx**2) * length**2)
