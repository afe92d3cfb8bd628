# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What is asked of a reconstruction: checked, and made into arguments of the solver."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.utils import parse_bytes
from hyperspy.external.progressbar import progressbar
from hyperspy.signals import BaseSignal
from numpy.typing import ArrayLike, NDArray

from emsparse_hs._computing import is_shown
from emsparse_hs.tomography import (
    ParallelBeam,
    default_weight,
    selection,
    series,
    typical_density,
)
from emsparse_hs.tomography._solving import check_iterations, check_settings, checked_bounds
from emsparse_hs.tomography.noise import CountingNoise
from emsparse_hs.tomography.refinement import REFINABLE, ROUNDS, Imaging, refine
from emsparse_hs.tomography.second_order import TYPICAL_SLOPE, check_processor

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram

#: Priors that `TiltSeries.reconstruct` knows.
PRIORS = ("tv", "huber", "tgv", "wavelet", "identity")
#: Edge of Huber's function, in typical densities.
_EDGE = 0.05
#: Tilts in degrees that span less are hardly meant.
_SMALLEST_SPAN = 10


@dataclass(frozen=True)
class Request:
    """What a user asked of `TiltSeries.reconstruct`; see there."""

    prior: str
    lambda_: float | str
    dims: int
    bounds: tuple[float, float | None]
    weights: str | None
    edge: float | None
    shifts: ArrayLike | None
    tol: float
    max_iter: int
    x0: str | Tomogram | None
    refine: tuple[str, ...]
    block: int | str | None
    halo: int
    device: str
    lazy_output: bool
    how: dict[str, Any]


def check(signal: TiltSeries, request: Request) -> None:
    """Say what is wrong with a request, before anything is computed."""
    prior, lambda_ = request.prior, request.lambda_
    if prior not in PRIORS:
        raise ValueError(f"The prior {prior!r} is not known, choose one of {PRIORS}.")
    if isinstance(lambda_, str) and lambda_ not in ("auto", "cv"):
        raise ValueError(f"lambda_ is a number, 'auto' or 'cv', not {lambda_!r}.")
    if request.dims not in (2, 3):
        raise ValueError(f"dims must be 2 or 3, not {request.dims!r}.")
    if request.weights not in (None, "poisson"):
        raise ValueError(f"weights are None or 'poisson', not {request.weights!r}.")
    x0 = request.x0
    if isinstance(x0, BaseSignal):
        if request.dims == 2:
            raise ValueError("A tomogram to start from needs dims=3. Use x0='wbp' or None.")
    elif not (x0 is None or (isinstance(x0, str) and x0 == "wbp")):
        raise ValueError(f"x0 is a tomogram, 'wbp' or None, not {x0!r}.")
    unknown = set(request.refine) - set(REFINABLE)
    if unknown:
        raise ValueError(f"refine takes one or more of {REFINABLE}, not {request.refine!r}.")
    check_blocks(request.block, request.halo)
    if request.dims == 2 and request.block not in (None, "auto"):
        raise ValueError("With dims=2 each slice is by itself: there are no blocks, leave block.")
    if prior != "huber" and request.edge is not None:
        raise ValueError(f"edge is for prior='huber', and the prior is {prior!r}.")
    if prior == "tgv":
        check_processor(request.device)
    check_images(signal)
    # All numbers now, and not after the search for lambda_.
    weight = 0.0 if isinstance(lambda_, str) else lambda_
    edge = 0.0 if request.edge is None else request.edge
    check_settings(weight, edge, 0.0, request.dims, request.tol, request.max_iter)
    checked_bounds(request.bounds, float(prior == "identity"))


def check_blocks(block: int | str | None, halo: int) -> None:
    """Check how many slices are to be reconstructed at once."""
    if isinstance(block, str) and block != "auto":
        try:
            parse_bytes(block)
        except ValueError:
            raise ValueError(
                f"block is a number of slices, memory such as '8 GiB', or 'auto', not {block!r}."
            ) from None
    elif not isinstance(block, (str, type(None))):
        check_iterations(block, "block")
    if not isinstance(halo, Integral) or halo < 0:
        raise ValueError(f"halo must be a whole number of 0 or more, not {halo!r}.")


def check_images(signal: TiltSeries) -> None:
    """Check that these are images of real numbers on even pixels, at two tilts at least."""
    if signal.data.dtype.kind not in "biuf":
        raise TypeError(f"Images of real numbers are needed, these are {signal.data.dtype}.")
    check_even(signal.axes_manager.signal_axes)
    _check_tilts(signal.tilts)


def check_even(axes: Sequence) -> None:
    """Check that pixels are evenly spaced."""
    if not all(axis.is_uniform for axis in axes):
        raise ValueError(
            "Pixels are not evenly spaced. Resample the signal first, with s.interpolate_on_axis."
        )


def _check_tilts(tilts: NDArray) -> None:
    if len(tilts) < 2:
        raise ValueError("One image says nothing of the depth. At least two tilts are needed.")
    if np.ptp(tilts) < _SMALLEST_SPAN:
        warnings.warn(
            f"The tilts span {np.ptp(tilts):.3g} degrees only. Give them in degrees, not in "
            "radians, with s.set_tilts.",
            stacklevel=5,
        )


def settings_of(
    sinogram, operator: ParallelBeam, sigma: float, request: Request, most: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the solver, and figures about them, with what the data choose.

    No more slices than `most`, if that is given, are reconstructed to choose the weight.
    """
    settings: dict[str, Any] = {
        "prior": request.prior,
        "bounds": request.bounds,
        "dimensions": request.dims,
        "tolerance": request.tol,
        "max_iterations": request.max_iter,
    }
    figures: dict[str, Any] = {"prior": request.prior, "dims": request.dims}
    # Slices from all over are enough for figures of the whole series.
    some = sinogram[:: max(1, len(sinogram) // 64)]
    if request.weights == "poisson":
        settings["noise"] = CountingNoise.of(np.asarray(some))
    if request.prior == "huber":
        edge = request.edge
        if edge is None:
            edge = _EDGE * typical_density(np.asarray(some))
        settings["edge"] = figures["edge"] = float(edge)
    elif request.prior == "tgv":
        slope = TYPICAL_SLOPE * typical_density(np.asarray(some))
        settings["slope"] = figures["slope"] = float(slope)
    name = "sparsity" if request.prior == "identity" else "weight"
    if isinstance(request.lambda_, str):
        weight = _selected_weight(sinogram, operator, sigma, settings, name, request, most)
    else:
        weight = float(request.lambda_)
    settings |= {"weight": 0.0} | {name: weight}
    figures |= {"lambda_": weight}
    if sigma > 0:
        figures["kappa"] = weight / default_weight(sigma, operator.n_tilts)
    return settings, figures


def refined(
    sinogram, operator: ParallelBeam, settings: dict, request: Request, most: int | None = None
) -> Imaging:
    """What each tilt did to its image, from the slices in which most is.

    From those in the middle, about which images turn, where the angle is to be found.
    """
    if "angle" in request.refine:
        beside = 0 if most is None else max(0, (len(sinogram) - most) // 2)
        some = slice(beside, len(sinogram) - beside)
    else:
        some = selection.richest_slices(sinogram, operator, request.dims, most)
    part = np.asarray(sinogram[some])
    loose = settings | {"tolerance": 1e-2, "max_iterations": 80}
    shown = is_shown(request.how["show_progressbar"])
    with progressbar(total=ROUNDS, desc="refine", disable=not shown) as bar:

        def volume(images: NDArray, projector: ParallelBeam) -> NDArray:
            bar.update()
            return series.reconstruct_regularised(images, projector, loose).volume

        return refine(part, operator, volume, request.refine)


def _selected_weight(
    sinogram,
    operator: ParallelBeam,
    sigma: float,
    settings: dict,
    name: str,
    request: Request,
    most: int | None,
) -> float:
    """Weight that is chosen by the data, with a progress bar of unknown length."""
    if not sigma > 0:
        raise ValueError(
            "The images have no noise to set lambda_ by, or are smaller than 3 x 3 pixels. Give "
            "lambda_ as a number."
        )
    start = default_weight(sigma, operator.n_tilts)
    if operator.n_tilts < 3:
        return start
    # What brings volumes nearer to the truth than predictions is known of gradients alone.
    exact = request.lambda_ == "cv" or request.prior not in ("tv", "huber")
    if not exact or most is not None:
        sinogram = sinogram[selection.richest_slices(sinogram, operator, request.dims, most)]
    loose = settings | {"tolerance": 1e-2, "max_iterations": 80}
    shown = is_shown(request.how["show_progressbar"])
    with progressbar(desc="lambda_", disable=not shown) as bar:

        def volume(part: NDArray, projector: ParallelBeam, weight: float) -> NDArray:
            bar.set_postfix({"lambda_": f"{weight:.3g}"}, refresh=False)
            bar.update()
            chosen = loose | {"weight": 0.0} | {name: weight}
            return series.reconstruct_regularised(part, projector, chosen).volume

        return selection.select_weight(
            np.asarray(sinogram), operator, volume, start, request.dims, exact, sigma
        )
