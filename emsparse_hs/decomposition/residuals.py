# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where in a scan the spectra of a model do not explain the counts."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.ndimage import convolve1d, generate_binary_structure, label

from ._csr_kernels import sum_in_bands
from ._model import in_threads
from ._neighbours import as_scan
from .counts import as_counts
from .start import feature_sums

#: Width (standard deviation of a Gaussian) in px over which residuals are added up. The counts of
#: a pixel say little; those of the 14 px around it say which lines are missing.
WIDTH = 1.5

#: Groups of channels that are compared one by one.
N_BANDS = 64

#: Rows of a scan that are looked at together, and where the Gaussian ends, in its widths.
ROWS, CUT_OFF = 64, 4

#: Bands that are smoothed at once.
BANDS_AT_ONCE = 16

#: Counts within reach that a band is taken to have at least, and what is added to the variance, so
#: that one count, or two, where hardly any is expected are no wonder.
LEAST_COUNTS, LEAST_VARIANCE = 0.5, 10.0

#: Excess from which a pixel is not explained by noise, nor by maps that are a little off.
EXCESSIVE = 10.0


def misfit(counts, components, loadings, *, scan, width: float = WIDTH) -> np.ndarray:
    r"""How much worse a model is at each pixel than noise would make it.

    Channels are put together in bands, and residuals are smoothed over the scan by a Gaussian g.
    For each band b that is compared to what Poisson noise of the expected counts y leaves,

    .. math:: \chi^2 = \sum_b (g * r_b)^2 / (g^2 * y_b).

    If the model is right, and y changes little within reach of g, its mean is the number of bands
    and its variance :math:`\sum_b (2 + 1/\mu_b)`, where :math:`\mu_b = (g^2 * y_b) (g^2 * 1) /
    (g^4 * 1)` are the counts within reach. Bands of less than half a count are taken to have as
    much, and 10 is added to the variance: at few counts the result is rather too small. Loadings
    that were fitted to the same counts make it smaller, too.

    Parameters
    ----------
    counts : array or CSR of shape (n_pixels, n_features)
        What was counted.
    components : array of shape (n_components, n_features)
        Spectra.
    loadings : array of shape (n_pixels, n_components)
        Their loadings.
    scan : tuple of int or bool array
        Where the pixels are, as for `PoissonNMF.fit`.
    width : float
        Standard deviation of g in px.

    Returns
    -------
    float32 array of shape (n_pixels,)
        :math:`\chi^2` less its mean, in standard deviations. Where the model is right, that is
        about 1 either way. On simulated maps of 250000 pixels it was 7.4 at most with 200
        channels, and up to 20 with 10; a phase without a spectrum has tens and more.

    Raises
    ------
    ValueError
        If shapes do not belong together, spectra or loadings are not finite, or `width` is no
        positive number.
    """
    counts = as_counts(counts)
    if not 0 < width < np.inf:
        raise ValueError(
            f"width={width!r}, and a positive number of pixels is needed, such as 1.5."
        )
    components, loadings = np.asarray(components, np.float64), np.asarray(loadings, np.float32)
    check_model(counts, components, loadings)
    keep = as_scan(scan, counts.shape[0])
    bands = _bands(counts)
    in_bands = np.zeros((len(components), bands.max() + 1))
    np.add.at(in_bands.T, bands, components.T)
    in_bands = in_bands.astype(np.float32)
    arrays = counts.indptr, counts.indices, counts.data

    def excess(rows: slice, own: slice, there: np.ndarray) -> np.ndarray:
        """Of a strip's own pixels."""
        expected = loadings[rows] @ in_bands
        observed = np.zeros_like(expected)
        sum_in_bands(*arrays, bands, rows.start, observed)
        return _excess(observed, expected, there, width)[own]

    strips = _strips(keep, int(np.ceil(CUT_OFF * width)))
    return np.concatenate(list(in_threads(excess, strips)))


def check_model(counts: sparse.csr_array, components: np.ndarray, loadings: np.ndarray) -> None:
    """Refuse spectra and loadings that were not fitted to such counts."""
    wanted = (len(loadings), components.shape[-1])
    if counts.shape != wanted or loadings.shape[1:] != components.shape[:1]:
        raise ValueError(
            f"Spectra of shape {components.shape} with loadings of shape {loadings.shape} are no "
            f"model of counts of shape {counts.shape}. Pass those that were fitted to them."
        )
    if not (np.isfinite(components).all() and np.isfinite(loadings).all()):
        raise ValueError(
            "Spectra or loadings are NaN or infinite. Leave out pixels and channels that were not "
            "fitted."
        )


def worst_region(excess: np.ndarray, keep: np.ndarray) -> np.ndarray | None:
    """Where a model is worst.

    Parameters
    ----------
    excess : array of shape (n_pixels,)
        As `misfit` gives it.
    keep : bool array
        The scan, True for pixels that are there.

    Returns
    -------
    integer array, or None
        The connected pixels around the highest excess that have half of it, as numbers among those
        that are there. None if no excess is worth a look.
    """
    worst = int(excess.argmax())
    if excess[worst] < EXCESSIVE:
        return None
    high = np.zeros(keep.shape, bool)
    high[keep] = excess > excess[worst] / 2
    regions = label(high, in_plane(keep.ndim))[0][keep]
    return np.flatnonzero(regions == regions[worst])


def in_plane(n_axes: int, diagonal: bool = False) -> np.ndarray:
    """Which pixels touch one another in a scan: those of the last two axes."""
    structure = np.zeros((3,) * n_axes, bool)
    plane = structure[(1,) * max(n_axes - 2, 0)]
    plane[...] = generate_binary_structure(plane.ndim, plane.ndim if diagonal else 1)
    return structure


def _bands(counts: sparse.csr_array) -> np.ndarray:
    """Band of each channel: narrow where there are many counts, but no peak hides in a wide one."""
    heights = np.sqrt(feature_sums(counts))
    share = (np.cumsum(heights) - heights / 2) / max(heights.sum(), 1e-30)
    return np.unique((share * N_BANDS).astype(np.intp), return_inverse=True)[1]


def _excess(observed, expected, there: np.ndarray, width: float) -> np.ndarray:
    """Excess of a strip's pixels, from what its bands have."""
    reach = int(np.ceil(CUT_OFF * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= kernel.sum()
    ones = np.ones((len(observed), 1), np.float32)
    # By how much a single count changes the squares on average, at edges and gaps as well.
    one = _smoothed(ones, there, kernel**4) / _smoothed(ones, there, kernel**2)
    excess, variance = np.zeros(len(observed)), np.full(len(observed), LEAST_VARIANCE)
    # Some bands at once: there are several arrays like this one on the way.
    for first in range(0, observed.shape[1], BANDS_AT_ONCE):
        some = slice(first, first + BANDS_AT_ONCE)
        residuals = _smoothed(observed[:, some] - expected[:, some], there, kernel)
        # Negative only where a model makes less than nothing.
        variances = np.maximum(_smoothed(expected[:, some], there, kernel**2), 0)
        scale = np.maximum(variances, one * LEAST_COUNTS)
        excess += ((residuals**2 - variances) / scale).sum(1)
        variance += ((2 * variances + one) * variances / scale**2).sum(1)
    return (excess / np.sqrt(variance)).astype(np.float32)


def _smoothed(values: np.ndarray, there: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    scan = np.zeros((*there.shape, values.shape[1]), np.float32)
    scan[there] = values
    for axis in (0, 1):
        scan = convolve1d(scan, kernel, axis, mode="constant")
    return scan[there]


def _strips(keep: np.ndarray, reach: int) -> list[tuple[slice, slice, np.ndarray]]:
    """Rows of the scan: their pixels and those around, which of them are their own, and where."""
    layers = keep.reshape((-1, *((1,) + keep.shape)[-2:]))
    n_rows = layers.shape[1]
    # Number of the first pixel of each row, all layers one after the other.
    starts = np.concatenate([[0], np.cumsum(layers.sum(2))])
    strips = []
    for n, layer in enumerate(layers):
        for first in range(0, n_rows, ROWS):
            last = min(first + ROWS, n_rows)
            above, below = max(first - reach, 0), min(last + reach, n_rows)
            rows = slice(*starts[n * n_rows + np.array([above, below])].tolist())
            own = slice(*(starts[n * n_rows + np.array([first, last])] - rows.start).tolist())
            strips.append((rows, own, layer[above:below]))
    return strips
