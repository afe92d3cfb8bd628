# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The accessor: one name, no state, methods that suit the signal."""

import gc
import weakref

import hyperspy.api as hs
import numpy as np
import pytest
from hyperspy.signal import BaseSignal

import emsparse_hs
from emsparse_hs import accessor


def methods_of(signal):
    return type(signal.emsparse).__name__


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("signal_dimension", "signal_type", "expected", "package"),
    [
        (1, "", "SpectrumMethods", None),
        (1, "EDS_TEM", "SpectrumMethods", "exspy"),
        (1, "EELS", "SpectrumMethods", "exspy"),
        (2, "", "DiffractionMethods", None),
        (2, "electron_diffraction", "DiffractionMethods", "pyxem"),
        (2, "EBSD", "EBSDMethods", "kikuchipy"),
        (2, "tilt_series", "TiltSeriesMethods", None),
        (2, "tomogram", "SignalMethods", None),
        (2, "kikuchi_bands", "SignalMethods", None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_methods_suit_the_signal(signal_dimension, signal_type, expected, package, lazy):
    if package:
        pytest.importorskip(package)
    cls = hs.signals.Signal1D if signal_dimension == 1 else hs.signals.Signal2D
    signal = cls(np.ones((3, 4, 5, 6)))
    signal.set_signal_type(signal_type)
    if lazy:
        signal = signal.as_lazy()
    assert methods_of(signal) == expected
    assert methods_of(signal.inav[0]) == expected
    assert methods_of(signal.deepcopy()) == expected


def test_other_methods_say_where_they_belong():
    signal = hs.signals.Signal1D(np.ones((3, 4)))
    with pytest.raises(AttributeError, match="'beam_deflection' is for diffraction patterns"):
        signal.emsparse.beam_deflection()
    with pytest.raises(AttributeError, match="'detect_bands' is for EBSD patterns"):
        signal.emsparse.detect_bands()
    with pytest.raises(AttributeError, match="'reconstruct' is for tilt series"):
        signal.emsparse.reconstruct()
    with pytest.raises(AttributeError, match="no method 'nonsense'"):
        signal.emsparse.nonsense()
    assert not hasattr(signal.emsparse, "beam_deflection")


def test_tab_completion_and_repr_show_what_applies():
    signal = hs.signals.Signal1D(np.ones((3, 4)))
    names = [name for name in dir(signal.emsparse) if not name.startswith("_")]
    assert "decomposition" in names and "beam_deflection" not in names
    assert "decomposition" in repr(signal.emsparse)


def test_the_signal_is_not_kept_alive():
    signal = hs.signals.Signal1D(np.ones((3, 4)))
    signal.emsparse  # noqa: B018
    reference = weakref.ref(signal)
    del signal
    gc.collect()
    assert reference() is None


def test_a_taken_name_is_an_error(monkeypatch):
    monkeypatch.setattr(BaseSignal, "emsparse_test", property(lambda self: 1), raising=False)
    with pytest.raises(RuntimeError, match="already have an attribute 'emsparse_test'"):
        accessor.register("emsparse_test")


def test_registering_twice_is_harmless():
    accessor.register()
    assert isinstance(BaseSignal.emsparse, accessor.Accessor)


def test_the_public_names_resolve():
    for name in emsparse_hs.__all__:
        assert getattr(emsparse_hs, name) is not None


def test_a_missing_package_is_named_with_its_extra():
    from emsparse_hs._optional import require

    with pytest.raises(ImportError, match=r'not_there.*pip install "emsparse-hs\[ebsd\]"'):
        require("not_there.signals", extra="ebsd")


def test_a_package_with_a_fault_of_its_own_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text("import also_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    from emsparse_hs._optional import require

    with pytest.raises(ModuleNotFoundError, match="also_not_there"):
        require("faulty", extra="ebsd")
