# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""dask's active scheduler, with HyperSpy's arguments and its progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import dask
from hyperspy.defaults_parser import preferences
from tqdm.dask import TqdmCallback

#: Bytes that are taken to be free where nothing tells.
_USUALLY_FREE = 4 * 2**30


def is_shown(show_progressbar: bool | None) -> bool:
    """Whether to show a progress bar: as HyperSpy's preferences say, if nothing else is said."""
    return preferences.General.show_progressbar if show_progressbar is None else show_progressbar


def compute(collection, show_progressbar: bool | None, num_workers: int | None) -> Any:
    """Compute one collection of dask."""
    with _progress(show_progressbar):
        return dask.compute(collection, **_workers(num_workers))[0]


def persist(collections, show_progressbar: bool | None, num_workers: int | None) -> tuple:
    """Compute collections and keep the results where they are: here, or on a cluster's workers."""
    with _progress(show_progressbar):
        return dask.persist(*collections, **_workers(num_workers))


def compute_each(
    function: Callable,
    items: Iterable,
    desc: str,
    show_progressbar: bool | None,
    num_workers: int | None,
) -> list:
    """Results of a function for each of some items, on this machine's threads.

    For what is small and long to compute, and may itself compute with dask.
    """
    tasks = [dask.delayed(function, pure=False, traverse=False)(item) for item in items]
    with _progress(show_progressbar, desc):
        return list(dask.compute(*tasks, scheduler="threads", **_workers(num_workers)))


def _progress(show_progressbar: bool | None, desc: str | None = None):
    # A cluster shows its progress in its own dashboard: callbacks are for local schedulers.
    return TqdmCallback(desc=desc) if is_shown(show_progressbar) else nullcontext()


def _workers(num_workers: int | None) -> dict:
    return {} if num_workers is None else {"num_workers": num_workers}


def free_memory() -> int:
    """Bytes of memory that are free, or a modest guess where that is not known.

    The system is asked through psutil, which is there with `distributed`. Neither knows of limits
    of a single job.
    """
    try:
        import psutil
    except ModuleNotFoundError:
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return _USUALLY_FREE
    return psutil.virtual_memory().available
