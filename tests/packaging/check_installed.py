# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Run in an environment where the wheel is installed: what HyperSpy needs of it is there.

A defect in any of these makes HyperSpy itself unimportable, or breaks signals of others.
"""

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path

import yaml

PACKAGE = "emsparse_hs"


def yaml_of(package):
    path = Path(importlib.util.find_spec(package).origin).parent / "hyperspy_extension.yaml"
    return yaml.safe_load(path.read_text())


def check_entry_point():
    distribution = importlib.metadata.distribution("emsparse-hs")
    (entry_point,) = distribution.entry_points.select(group="hyperspy.extensions")
    assert entry_point.name == PACKAGE, "HyperSpy looks for the package by the entry point's name"
    files = {str(file) for file in distribution.files}
    assert f"{PACKAGE}/hyperspy_extension.yaml" in files
    assert f"{PACKAGE}/data/registry.toml" in files
    assert f"{PACKAGE}/py.typed" in files
    assert "site-packages" in importlib.util.find_spec(PACKAGE).origin


def check_hyperspy_imports():
    import hyperspy.api as hs
    from hyperspy.extensions import ALL_EXTENSIONS

    assert set(yaml_of(PACKAGE)["signals"]) <= set(ALL_EXTENSIONS["signals"])
    hs.signals.Signal1D([[1.0, 2.0]]).T  # noqa: B018  (resolves a class through the whole table)


def check_classes():
    signals = yaml_of(PACKAGE)["signals"]
    for name, entry in signals.items():
        wanted = {"signal_type", "signal_dimension", "dtype", "lazy", "module"}
        assert wanted <= set(entry), f"{name} lacks {wanted - set(entry)}"
        cls = getattr(importlib.import_module(entry["module"]), name)
        assert cls._signal_type == entry["signal_type"]
        assert cls._signal_dimension == entry["signal_dimension"]
        assert cls._lazy == entry["lazy"]
        twin = name.removeprefix("Lazy") if entry["lazy"] else f"Lazy{name}"
        assert signals[twin] == {**entry, "lazy": not entry["lazy"]}


def check_names_are_free():
    ours = yaml_of(PACKAGE)["signals"]
    others = [point.name for point in importlib.metadata.entry_points(group="hyperspy.extensions")]
    others.remove(PACKAGE)
    assert PACKAGE not in others, "registered twice"
    for other in ["hyperspy", *others]:
        theirs = yaml_of(other).get("signals") or {}
        assert not set(ours) & set(theirs), f"class names of {other}"
        types = {entry["signal_type"] for entry in theirs.values()}
        types |= {alias for e in theirs.values() for alias in e.get("signal_type_aliases", ())}
        assert not {entry["signal_type"] for entry in ours.values()} & types, f"types of {other}"
    return others


def check_example_data():
    from emsparse_hs import data

    assert data.path("espm_88_ES_G8_EDS.hspy").is_file()
    assert data.path("needle_HAADF_aligned_crop.hspy").is_file()


if __name__ == "__main__":
    check_entry_point()
    check_hyperspy_imports()
    check_classes()
    others = check_names_are_free()
    check_example_data()
    print("checked beside", *sorted(others))
