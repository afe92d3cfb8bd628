# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What the neighbours of each pixel of a scan have on average."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

#: Width of the neighbourhood (standard deviation of a Gaussian) in px. The nearest eight weigh
#: most: what is three pixels thick would be mixed with its surroundings by a wider one.
WIDTH = 0.8

#: Largest side of a tile in px, where some of the scan stands for all.
SIDE = 16

#: Where the Gaussian is cut off, in standard deviations.
_CUT_OFF = 3.0


class Neighbours:
    """Weighted means over the neighbours of each pixel, without the pixel itself.

    Parameters
    ----------
    keep : bool array
        The scan, True for pixels that are there. Neighbours are sought along its last two axes.
    """

    def __init__(self, keep: np.ndarray) -> None:
        self.keep = keep
        self._axes = [k for k in range(max(keep.ndim - 2, 0), keep.ndim) if keep.shape[k] > 1]
        impulse = np.zeros(31)
        impulse[15] = 1
        self._own = float(_smooth(impulse, 0)[15]) ** len(self._axes)
        ones = keep.astype(np.float32)
        self._weights = self._around(ones)[keep]

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean of the neighbours' values.

        Parameters
        ----------
        values : float32 array of shape (n_pixels, n_components)
            One row for each pixel that is there, in C order of the scan.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            Zero where a pixel has no neighbours.
        """
        if self.keep.all():
            scan = values.reshape(*self.keep.shape, -1)
        else:
            scan = np.zeros((*self.keep.shape, values.shape[1]), np.float32)
            scan[self.keep] = values
        around = self._around(scan)
        around = around.reshape(values.shape) if self.keep.all() else around[self.keep]
        around /= np.maximum(self._weights, 1e-6)[:, None]
        return np.maximum(around, 0, out=around)

    def _around(self, scan: np.ndarray) -> np.ndarray:
        smooth = scan
        for axis in self._axes:
            smooth = _smooth(smooth, axis)
        return smooth - self._own * scan


def _smooth(values: np.ndarray, axis: int) -> np.ndarray:
    return gaussian_filter1d(values, WIDTH, axis, mode="constant", truncate=_CUT_OFF)


def some_tiles(
    keep: np.ndarray, most: int, random, wanted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of a scan, chosen at random.

    Parameters
    ----------
    keep : bool array
        The scan, True for pixels that are there.
    most : int
        How many pixels they have together, about.
    random : RandomState
        Of the choice.
    wanted : integer array, optional
        Pixels, as numbers among those that are there. Tiles that have any of them come first.

    Returns
    -------
    rows : integer array of shape (n_pixels,)
        Their pixels, as numbers among those that are there, tile by tile.
    tiles : bool array of shape (n_tiles, height, width)
        A scan of these tiles, as high and wide as the scan at most: True for pixels that are there.
    """
    numbers = np.full(keep.shape, -1)
    numbers[keep] = np.arange(keep.sum())
    n_y, n_x = ((1,) + keep.shape)[-2:]
    # Of lines, and of a series of small scans, tiles would be almost empty.
    height, width = min(n_y, SIDE), min(n_x, SIDE)
    beyond = [(0, 0), (0, -n_y % height), (0, -n_x % width)]
    padded = np.pad(numbers.reshape(-1, n_y, n_x), beyond, constant_values=-1)
    tall, wide = padded.shape[1] // height, padded.shape[2] // width
    tiles = padded.reshape(-1, tall, height, wide, width).swapaxes(2, 3)
    tiles = random.permutation(tiles.reshape(-1, height, width))
    if wanted is not None:
        without = ~np.isin(tiles, wanted).any((1, 2))
        tiles = tiles[np.argsort(without, kind="stable")]
    filled = np.cumsum((tiles >= 0).sum((1, 2)))
    tiles = tiles[: np.searchsorted(filled, most) + 1]
    return tiles[tiles >= 0], tiles >= 0


def as_scan(scan, n_pixels: int) -> np.ndarray:
    """Check where pixels are in a scan.

    Parameters
    ----------
    scan : tuple of int or bool array
        Shape of the scan, or which of its pixels are there.
    n_pixels : int
        How many there are to be.

    Returns
    -------
    bool array
        The scan, True for pixels that are there.

    Raises
    ------
    ValueError
        If it has another number of pixels.
    """
    scan = np.asarray(scan)
    if scan.dtype == bool:
        keep = scan
    elif scan.dtype.kind in "iu" and scan.ndim < 2 and (scan > 0).all() and scan.size <= 32:
        keep = np.ones(tuple(np.atleast_1d(scan)), bool)
    else:
        raise ValueError(f"scan={scan} is neither the shape of the scan nor a bool array.")
    if keep.sum() != n_pixels:
        raise ValueError(
            f"scan has {keep.sum()} pixels, and there are counts of {n_pixels}. Pass the shape of "
            "the scan, or a bool array that is True for the pixels whose counts are given."
        )
    return keep
