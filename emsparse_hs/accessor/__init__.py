# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The attribute ``s.emsparse``: what emsparse_hs can do with a signal that others own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hyperspy.signal import BaseSignal

if TYPE_CHECKING:
    from ._base import SignalMethods

#: Class of methods, the module that holds it, and the signal types it is for.
_METHODS = {
    "SignalMethods": (
        "_base",
        ("beam_deflection", "electric_field", "magnetic_induction", "kikuchi_bands", "tomogram"),
    ),
    "EBSDMethods": ("_ebsd", ("EBSD",)),
    "TiltSeriesMethods": ("_tilt_series", ("tilt_series", "TomoStack")),
    # Other signals go by their dimension.
    "DiffractionMethods": ("_diffraction", ()),
    "SpectrumMethods": ("_spectrum", ()),
}


class Accessor:
    """Descriptor that hands out the methods for a signal and keeps nothing.

    It holds no signal, so that no cycle keeps gigabytes alive, and so there is no state to lose
    when HyperSpy copies, slices or converts the signal.
    """

    def __get__(self, signal: BaseSignal | None, owner: type | None = None):
        """Return the methods that apply to this signal, or this descriptor for the class."""
        return self if signal is None else methods_for(signal)


def methods_for(signal: BaseSignal) -> SignalMethods:
    """Methods that suit the signal's type, or its dimension where the type is not known.

    Parameters
    ----------
    signal : BaseSignal
        Any signal, eager or lazy.

    Returns
    -------
    SignalMethods
        One of the classes of `emsparse_hs.accessor`.
    """
    return _methods_class(_name_for(signal))(signal)


def _name_for(signal: BaseSignal) -> str:
    # The metadata know the type even where the package that owns its class is not installed.
    signal_type = signal.metadata.get_item("Signal.signal_type", default="")
    for name, (_, signal_types) in _METHODS.items():
        if signal_type in signal_types:
            return name
    return "SpectrumMethods" if signal.axes_manager.signal_dimension < 2 else "DiffractionMethods"


def _methods_class(name: str) -> type[SignalMethods]:
    module, _ = _METHODS[name]
    return getattr(import_module(f"{__name__}.{module}"), name)


def classes_with(method: str) -> list[str]:
    """Names of the classes of methods that have this method."""
    return [name for name in _METHODS if hasattr(_methods_class(name), method)]


def register(name: str = "emsparse") -> None:
    """Set the accessor on HyperSpy's base class, once.

    Parameters
    ----------
    name : str
        Name of the attribute.

    Raises
    ------
    RuntimeError
        If another package has taken the name: two accessors of one name would silently hide each
        other's methods.
    """
    taken = getattr(BaseSignal, name, None)
    if taken is None:
        setattr(BaseSignal, name, Accessor())
    elif type(taken).__module__ != __name__:
        raise RuntimeError(
            f"HyperSpy's signals already have an attribute {name!r}, from {type(taken).__module__}."
            " Import only one of the two packages, or update the other one."
        )
