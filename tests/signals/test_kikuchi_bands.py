# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bands as a signal: properties, and everything that HyperSpy does to a signal."""

import hyperspy.api as hs
import numpy as np
import pytest

import emsparse_hs  # noqa: F401
from emsparse_hs.signals import KikuchiBands, LazyKikuchiBands

SCAN, N_BANDS = (3, 4), 7


def make(lazy=False, own_centres=False, sigmas=True):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(*SCAN, N_BANDS, 5 + 2 * sigmas + 3 * own_centres))
    if own_centres:
        data[..., -3:] = rng.random((*SCAN, 1, 3))
    about = {"pattern_centre": [0.42, 0.21, 0.5], "pattern_shape": [60, 80]}
    if sigmas:
        about["n_quantities"] = data.shape[-1]
    axes = [{"name": n, "size": s} for n, s in zip("yx", SCAN, strict=True)]
    axes += [
        {"name": "band", "size": N_BANDS, "navigate": False},
        {"name": "quantity", "size": data.shape[-1], "navigate": False},
    ]
    signal = KikuchiBands(data, axes=axes, metadata={"Kikuchi_bands": about})
    return signal.as_lazy() if lazy else signal


def check(signal, original, place=()):
    """What the properties give is the original's, there."""
    assert isinstance(signal, KikuchiBands)
    data = original.data[place]
    np.testing.assert_array_equal(np.asarray(signal.normals), data[..., :3])
    np.testing.assert_array_equal(np.asarray(signal.half_widths), data[..., 3])
    np.testing.assert_array_equal(np.asarray(signal.contrasts), data[..., 4])
    if data.shape[-1] in (7, 10):
        np.testing.assert_array_equal(np.asarray(signal.direction_sigmas), data[..., 5])
        np.testing.assert_array_equal(np.asarray(signal.width_sigmas), data[..., 6])
    else:
        for name in ("direction_sigmas", "width_sigmas"):
            with pytest.raises(ValueError, match="without standard errors"):
                getattr(signal, name)
    expected = data[..., 0, -3:] if data.shape[-1] in (8, 10) else [0.42, 0.21, 0.5]
    np.testing.assert_array_equal(np.asarray(signal.pattern_centre), expected)
    assert signal.pattern_shape == (60, 80)


@pytest.mark.parametrize("sigmas", [True, False], ids=["found", "made without"])
@pytest.mark.parametrize("own_centres", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_survives_what_hyperspy_does(lazy, own_centres, sigmas, tmp_path):
    original = make(own_centres=own_centres, sigmas=sigmas)
    signal = make(lazy, own_centres, sigmas)
    assert isinstance(signal, LazyKikuchiBands) == lazy
    check(signal, original)
    check(signal.deepcopy(), original)
    check(signal.inav[1, 2], original, (2, 1))
    check(signal.inav[1:3, 2], original, (2, slice(1, 3)))
    check(signal.isig[:, :3], original, (..., slice(0, 3), slice(None)))
    check(signal.isig[:, 2:].inav[0, 0], original, (0, 0, slice(2, None)))
    check(signal.transpose().transpose(), original)
    for extension in ("hspy", "zspy"):
        name = tmp_path / f"bands.{extension}"
        signal.save(name)
        check(hs.load(name), original)
        check(hs.load(name, lazy=True), original)
    if lazy:
        signal.compute(show_progressbar=False)
        assert not signal._lazy
        check(signal, original)
    else:
        check(signal.as_lazy(), original)


def test_map_keeps_the_class():
    signal = make()
    doubled = signal.map(lambda bands: 2 * bands, inplace=False, show_progressbar=False)
    np.testing.assert_array_equal(doubled.normals, 2 * signal.normals)


def test_says_when_quantities_are_missing():
    for broken in (make().isig[:3, :], make().transpose(signal_axes=["x", "y"])):
        with pytest.raises(ValueError, match="quantity"):
            broken.half_widths  # noqa: B018


def test_plot_on_says_when_the_scan_is_another():
    with pytest.raises(ValueError, match="scan has the shape"):
        make().plot_on(hs.signals.Signal2D(np.zeros((2, 3, 60, 80))))
