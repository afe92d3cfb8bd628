# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A device reaches what computes; the device here only says that it is a graphics card."""

from threading import Lock

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import TiltSeries
from emsparse_hs.tomography import projector
from emsparse_hs.tomography._device import Processor, device_named

QUIET = {"show_progressbar": False}
TILTS = np.linspace(-60, 60, 9)


class Turn:
    """Lock that counts how often it was held; nobody may be inside already."""

    def __init__(self) -> None:
        self.lock, self.times = Lock(), 0

    def __enter__(self) -> None:
        assert self.lock.acquire(timeout=60)
        self.times += 1

    def __exit__(self, *_) -> None:
        self.lock.release()


class Card(Processor):
    """The processor under another name, with little memory and a turn to be waited for."""

    name = "cuda"

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.free, self.n_projected, self.out_of_turn = Turn(), 10**12, 0, 0
        project = self.loops.project

        def counted(*arguments) -> None:
            self.n_projected += 1
            self.out_of_turn += not self.turn.lock.locked()
            project(*arguments)

        self.loops.project = counted

    def free_memory(self) -> int:
        return self.free


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setattr(
        projector, "device_named", lambda name: card if name == "cuda" else device_named(name)
    )
    return card


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def series(request):
    simulated = simulate_tilt_series("porous", 20, 150, TILTS, seed=41)
    series = TiltSeries(simulated.images)
    series.set_tilts(TILTS)
    return series.as_lazy() if request.param else series


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("prior", ["tv", "wavelet"])
def test_a_card_reconstructs(series, card, prior, dims):
    settings = {"prior": prior, "lambda_": 8.0, "dims": dims, "tol": 1e-2, "lazy_output": False}
    host = series.reconstruct(**settings, **QUIET)
    assert not card.n_projected
    found = series.reconstruct(**settings, **QUIET, device="cuda")
    np.testing.assert_array_equal(found.data, host.data)
    # Each iteration projects on the card, and each look.
    assert card.n_projected > 20
    assert dims == 3 or not card.out_of_turn


@pytest.mark.parametrize("method", ["reconstruct_wbp", "reconstruct_sirt"])
def test_a_card_reconstructs_directly(series, card, method):
    host = getattr(series, method)(lazy_output=False, **QUIET)
    found = getattr(series, method)(lazy_output=False, device="cuda", **QUIET)
    np.testing.assert_array_equal(found.data, host.data)
    assert card.turn.times and not card.out_of_turn


def test_lazy_blocks_take_turns_on_a_card(series, card):
    lazy = series if series._lazy else series.as_lazy()
    tomogram = lazy.reconstruct(lambda_=8.0, dims=2, tol=1e-2, device="cuda", **QUIET)
    assert not card.turn.times
    tomogram.data.compute(num_workers=3)
    assert card.turn.times and not card.out_of_turn


def test_blocks_are_as_large_as_the_card_allows(series, card):
    settings = {"lambda_": 8.0, "tol": 1.0, "max_iter": 20, "halo": 8, "lazy_output": False}
    whole = series.reconstruct(device="cuda", **settings, **QUIET)
    assert "block" not in whole.metadata.Reconstruction
    card.free = 0
    tomogram = series.reconstruct(device="cuda", **settings, **QUIET)
    assert tomogram.metadata.Reconstruction.block == 48
    exact = series.reconstruct(block=150, **settings, **QUIET)
    assert "block" not in exact.metadata.Reconstruction


def test_a_device_that_is_unknown_is_refused_first(series):
    with pytest.raises(ValueError, match="device is one of"):
        series.reconstruct(device="gpu", **QUIET)
