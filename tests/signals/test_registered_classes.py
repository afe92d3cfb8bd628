# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Every registered class keeps its class, metadata and axes through all that HyperSpy does."""

from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest
import yaml

import emsparse_hs

TABLE = yaml.safe_load((Path(emsparse_hs.__file__).parent / "hyperspy_extension.yaml").read_text())[
    "signals"
]
EAGER = {name: entry for name, entry in TABLE.items() if not entry["lazy"]}

#: A shape that makes sense for each class; all dimensions different.
SHAPES = {
    "BeamDeflection": (4, 5, 2),
    "BravaisProbabilities": (4, 5, 15),
    "ElectricField": (4, 5, 2),
    "KikuchiBands": (3, 4, 6, 5),
    "MagneticInduction": (4, 5, 2),
    "TiltSeries": (7, 5, 6),
    "Tomogram": (4, 5, 6),
}


@pytest.fixture(params=[(n, lazy) for n in EAGER for lazy in (False, True)], ids=str)
def signal(request):
    name, lazy = request.param
    data = np.random.default_rng(0).random(SHAPES[name])
    made = getattr(emsparse_hs.signals, name)(data)
    made.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300.0)
    made.metadata.set_item("Kept.by_us", [1.5, 2.5])
    for i, axis in enumerate(made.axes_manager._axes):
        axis.name, axis.scale, axis.units, axis.offset = f"axis{i}", 0.5 + i, "nm", 3.0 * i
    return made.as_lazy() if lazy else made


def same_kind(one, other, lazy=None):
    eager = type(one).__name__.removeprefix("Lazy")
    lazy = one._lazy if lazy is None else lazy
    assert type(other).__name__ == ("Lazy" if lazy else "") + eager
    assert other.metadata.Signal.signal_type == EAGER[eager]["signal_type"]
    assert other.metadata.Acquisition_instrument.TEM.beam_energy == 300.0
    assert list(other.metadata.Kept.by_us) == [1.5, 2.5]


def test_every_class_has_a_shape_here():
    assert set(SHAPES) == set(EAGER)


def test_deepcopy(signal):
    same_kind(signal, signal.deepcopy())


def test_slicing(signal):
    same_kind(signal, signal.inav[1:3])
    same_kind(signal, signal.inav[1])
    if signal.axes_manager.signal_dimension == 2:
        same_kind(signal, signal.isig[1:4, 1:3])
    assert signal.inav[1:3].axes_manager[0].offset == signal.axes_manager[0].index2value(1)


def test_arithmetic(signal):
    same_kind(signal, signal + 1)
    same_kind(signal, -signal * 2)


def test_transpose_and_back(signal):
    if signal.axes_manager.navigation_dimension == signal.axes_manager.signal_dimension == 2:
        same_kind(signal, signal.T)
    turned = signal.transpose(signal_axes=list(range(signal.axes_manager.navigation_dimension)))
    back = turned.transpose(signal_axes=signal.axes_manager.signal_dimension)
    back.set_signal_type(signal._signal_type)
    same_kind(signal, back)


def test_lazy_and_back(signal):
    same_kind(signal, signal.as_lazy(), lazy=True)
    if signal._lazy:
        same_kind(signal, signal.compute(close_file=False) or signal, lazy=False)


def test_map(signal):
    mapped = signal.map(doubled, inplace=False)
    same_kind(signal, mapped)
    np.testing.assert_allclose(np.asarray(mapped.data), 2 * np.asarray(signal.data))


def doubled(frame):
    return 2 * frame


def test_change_dtype(signal):
    signal.change_dtype("float32")
    same_kind(signal, signal)


@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
@pytest.mark.parametrize("lazily", [False, True])
def test_saving(signal, suffix, lazily, tmp_path):
    path = tmp_path / f"signal{suffix}"
    signal.save(path)
    loaded = hs.load(path, lazy=lazily)
    same_kind(signal, loaded, lazy=lazily)
    np.testing.assert_array_equal(np.asarray(loaded.data), np.asarray(signal.data))
    for before, after in zip(signal.axes_manager._axes, loaded.axes_manager._axes, strict=True):
        assert (before.name, before.scale, before.offset) == (after.name, after.scale, after.offset)


def test_plot(signal):
    import matplotlib.pyplot as plt

    signal.plot()
    plt.close("all")
