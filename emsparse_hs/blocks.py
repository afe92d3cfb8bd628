# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The one way from a signal, eager or lazy, to blocks of whole spectra or patterns and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed, delayed
from hyperspy.signal import BaseSignal

from emsparse_hs._computing import compute, persist
from emsparse_hs._masks import as_mask, kept
from emsparse_hs._reading import Region, StoredPiece, read_pieces
from emsparse_hs._rows import RowLayout, as_rows, joined, placed_results, some_rows

#: Blocks that a sample is taken of.
_SAMPLED_BLOCKS = 6


class _Piece(NamedTuple):
    """One piece of the scan."""

    region: Region
    #: None where all is masked, so that nothing is read.
    chunk: Delayed | StoredPiece | None
    #: None if the chunk needs no change.
    layout: RowLayout | None


class Blocks:
    """A signal cut into blocks of whole spectra or patterns.

    A block is a C-contiguous array of shape (pixels, features) in native byte order: the pixels
    are those of one piece of the scan in C order, the features are the channels of a spectrum or
    the pixels of a pattern in C order. Masked ones are left out. Blocks are read when they are
    worked on, by dask's active scheduler: threads by default, a `dask.distributed` client
    unchanged. A few are in memory at once. They may be views of the user's data, and can't be
    written to then.

    Functions that work on blocks are defined at the top level of a module, and their further
    arguments are arrays and scalars: a signal can't be sent to another process.

    Attributes
    ----------
    navigation_shape, signal_shape : tuple of int
        In the order of the array: (y, x).
    navigation_keep, signal_keep : bool array
        Of those shapes, True where a pixel or a feature is kept.
    dtype : dtype
        Of the data.
    """

    def __init__(
        self,
        pieces: list[_Piece],
        navigation_keep: np.ndarray,
        signal_keep: np.ndarray,
        dtype: np.dtype,
    ) -> None:
        # In C order of their places in the scan.
        self._pieces = pieces
        self.navigation_keep = navigation_keep
        self.signal_keep = signal_keep
        self.dtype = dtype

    @classmethod
    def of(cls, signal: BaseSignal, navigation_mask=None, signal_mask=None) -> Blocks:
        """Cut a signal into blocks.

        Parameters
        ----------
        signal : BaseSignal
            Eager or lazy, in any chunking, with at least one navigation axis.
        navigation_mask : BaseSignal or bool array, optional
            True where a pixel is left out. A signal has the scan's shape; an array has HyperSpy's
            ``navigation_shape`` (x, y), as everywhere in HyperSpy.
        signal_mask : BaseSignal or bool array, optional
            True where a channel or a detector pixel is left out. An array has the shape of the
            data, (y, x).

        Returns
        -------
        Blocks
            Nothing is read yet, unless large chunks hold only a part of each spectrum (files
            stored energy by energy): those are rearranged in a temporary file, in dask's
            ``temporary-directory``, so that memory stays small.

        Raises
        ------
        TypeError
            If the data are complex or ragged, or a mask is not boolean.
        ValueError
            If there are no navigation axes, a mask has another shape, or all is masked.
        """
        axes = signal.axes_manager
        if not axes.navigation_dimension:
            raise ValueError(
                f"{signal!r} has no navigation axes. This needs a series of spectra or patterns: "
                "set them with s.transpose(signal_axes=...), or load the whole scan."
            )
        return cls.from_array(
            signal._data_aligned_with_axes,
            axes.navigation_dimension,
            as_mask(navigation_mask, axes._navigation_shape_in_array, "navigation", flip=True),
            as_mask(signal_mask, axes._signal_shape_in_array, "signal"),
        )

    @classmethod
    def from_array(
        cls, array, navigation_dimension: int, navigation_mask=None, signal_mask=None
    ) -> Blocks:
        """Cut an array into blocks.

        Parameters
        ----------
        array : numpy or dask array
            Navigation axes first.
        navigation_dimension : int
            How many of the axes are navigation axes.
        navigation_mask, signal_mask : bool array, optional
            Of the shape of those axes, True where left out.

        Returns
        -------
        Blocks
            As from `of`.

        Raises
        ------
        TypeError
            If the data are complex or ragged.
        ValueError
            If all is masked.
        """
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"The data are of dtype {array.dtype}, and real numbers are needed. Take s.real, "
                "s.imag or the amplitude of complex data; make ragged data rectangular."
            )
        if 0 in array.shape:
            raise ValueError(f"The data are empty: their shape is {array.shape}.")
        navigation_shape = array.shape[:navigation_dimension]
        signal_shape = array.shape[navigation_dimension:]
        navigation_keep = kept(navigation_mask, navigation_shape, "navigation")
        signal_keep = kept(signal_mask, signal_shape, "signal")
        features = None if signal_keep.all() else signal_keep.ravel()
        pieces = []
        for region, chunk in read_pieces(array, navigation_dimension):
            keep = navigation_keep[region]
            pixels = None if keep.all() else keep.ravel()
            layout = RowLayout(navigation_dimension, pixels, features)
            pieces.append(_Piece(region, chunk if keep.any() else None, layout))
        return cls(pieces, navigation_keep, signal_keep, array.dtype)

    @property
    def navigation_shape(self) -> tuple[int, ...]:
        """Shape of the scan, in the order of the array."""
        return self.navigation_keep.shape

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Shape of a spectrum or pattern, in the order of the array."""
        return self.signal_keep.shape

    @property
    def n_pixels(self) -> int:
        """How many pixels are kept."""
        return int(self.navigation_keep.sum())

    @property
    def n_features(self) -> int:
        """How many channels or detector pixels are kept."""
        return int(self.signal_keep.sum())

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._kept)

    @property
    def _kept(self) -> list[_Piece]:
        return [piece for piece in self._pieces if piece.chunk is not None]

    @property
    def _rows(self) -> list[Delayed]:
        return [delayed(as_rows)(piece.chunk, piece.layout) for piece in self._kept]

    def __iter__(self) -> Iterator[Any]:
        """One block after the other, one in memory at a time."""
        for rows in self._rows:
            yield dask.compute(rows)[0]

    @property
    def scan_order(self) -> np.ndarray:
        """Where the kept pixels of the scan, in C order, are among the rows of all blocks."""
        places = np.arange(self.navigation_keep.size).reshape(self.navigation_shape)
        regions = [piece.region for piece in self._kept]
        return np.argsort(
            np.concatenate([places[region][self.navigation_keep[region]] for region in regions])
        )

    def place(self, values: np.ndarray, fill=np.nan) -> np.ndarray:
        """Results of the kept pixels at their places in the scan.

        Parameters
        ----------
        values : array of shape (n_pixels, ...)
            One a kept pixel, in C order of the scan: what was made of all blocks one after the
            other is ``values[blocks.scan_order]`` in that order.
        fill : scalar
            Value of masked pixels.

        Returns
        -------
        array of shape (navigation_shape, ...)
            Of the dtype of `values`.
        """
        if self.navigation_keep.all():
            return values.reshape(self.navigation_shape + values.shape[1:])
        placed = np.full(self.navigation_shape + values.shape[1:], fill, values.dtype)
        placed[self.navigation_keep] = values
        return placed

    def map(
        self,
        function: Callable,
        *args,
        per_pixel: Sequence[np.ndarray] = (),
        output_shape: tuple[int, ...] = (),
        dtype=np.float64,
        fill=np.nan,
        lazy_output: bool = False,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ):
        """One result for each pixel of the scan.

        Parameters
        ----------
        function : callable
            ``function(rows, *args)`` returns an array of shape (pixels,) + output_shape. It may
            get a block in several parts, so as not to copy it as a whole.
        *args
            Arrays and scalars, sent once.
        per_pixel : sequence of arrays of shape (navigation_shape, ...)
            Parameters that each pixel has of its own. The function gets those of the block's
            pixels, one an array, directly after the rows.
        output_shape : tuple of int
            Shape of the result of one pixel.
        dtype : dtype
            Of the result.
        fill : scalar
            Value of masked pixels.
        lazy_output : bool
            Whether to return a dask array, with nothing computed.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        numpy or dask array
            Of shape navigation_shape + output_shape.
        """
        shared = delayed(args, traverse=False)
        placed = {}
        for piece in self._pieces:
            keep = self.navigation_keep[piece.region]
            shape = keep.shape + output_shape
            if piece.chunk is None:
                part = da.full(shape, fill, dtype=dtype, chunks=-1)
            else:
                own = self._own(piece, per_pixel)
                task = delayed(placed_results)(
                    *piece[1:], function, own, shared, keep, output_shape, dtype, fill
                )
                part = da.from_delayed(task, shape, dtype=dtype)
            placed[tuple(along.start for along in piece.region)] = part
        result = joined(placed)
        if lazy_output:
            return result
        return compute(result, show_progressbar, num_workers)

    def reduce(
        self,
        function: Callable,
        merge: Callable,
        *args,
        per_pixel: Sequence[np.ndarray] = (),
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ):
        """One result for the whole signal.

        Parameters
        ----------
        function : callable
            ``function(rows, *args)`` returns what a block contributes; it should be small.
        merge : callable
            ``merge(one, other)`` joins two contributions; associative. It is called in a fixed
            order, so that the result does not depend on the number of threads.
        *args
            Arrays and scalars, sent once.
        per_pixel : sequence of arrays of shape (navigation_shape, ...)
            As for `map`.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        Any
            The contributions of all blocks, merged.
        """
        shared = delayed(args, traverse=False)
        states = [
            delayed(_applied)(rows, function, shared, self._own(piece, per_pixel))
            for rows, piece in zip(self._rows, self._kept, strict=True)
        ]
        while len(states) > 1:
            pairs = [delayed(merge)(a, b) for a, b in zip(states[::2], states[1::2], strict=False)]
            states = pairs + states[len(states) - len(states) % 2 :]
        return compute(states[0], show_progressbar, num_workers)

    def _own(self, piece: _Piece, per_pixel: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the kept pixels of a piece have of their own."""
        keep = self.navigation_keep[piece.region]
        return [np.asarray(values)[piece.region][keep] for values in per_pixel]

    def sample(self, n_pixels: int) -> np.ndarray:
        """Some rows that are spread over the scan, in its order.

        They are read at once. To spare files whose chunks must be read whole, they come from a few
        blocks only.

        Parameters
        ----------
        n_pixels : int
            How many rows; all if there are fewer.

        Returns
        -------
        array of shape (rows, features)
            About as many as asked for, in the dtype of the data.
        """
        rows = self._rows
        n_blocks = min(len(rows), _SAMPLED_BLOCKS)
        places = np.linspace(0, len(rows) - 1, n_blocks).round().astype(int)
        each = math.ceil(n_pixels / n_blocks)
        return np.concatenate(dask.compute(*(delayed(some_rows)(rows[i], each) for i in places)))

    def hold(
        self,
        function: Callable,
        *args,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> Blocks:
        """Convert each block once and keep what comes out, for several passes over it.

        Parameters
        ----------
        function : callable
            ``function(rows, *args)`` returns the block in a form worth keeping, such as counts
            in CSR. It has one row a pixel.
        *args
            Arrays and scalars, sent once.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        Blocks
            The converted blocks, in memory: in this process, or on the workers of the active
            `dask.distributed` client. Functions get them in the converted form; masks and dtype
            are still those of the data.
        """
        shared = delayed(args, traverse=False)
        converted = [delayed(_applied)(rows, function, shared) for rows in self._rows]
        held = iter(persist(converted, show_progressbar, num_workers))
        pieces = [
            _Piece(piece.region, None if piece.chunk is None else next(held), None)
            for piece in self._pieces
        ]
        return Blocks(pieces, self.navigation_keep, self.signal_keep, self.dtype)


def _applied(rows, function: Callable, args: tuple, own: Sequence[np.ndarray] = ()):
    return function(rows, *own, *args)
