# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Presence and phases of signals: eager and lazy, in every layout, masked."""

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.accessor._grouping import GroupingMethods
from emsparse_hs.data import simulated_phases
from emsparse_hs.stem4d import bragg_presence

HOW = {"show_progressbar": False}
SCAN = (22, 27)


@pytest.fixture(scope="module")
def example():
    """A scan of frames of 44 x 48 px, and the true phases."""
    signal, truth = simulated_phases(1, scan_shape=SCAN, n_phases=2, frame=48)
    return signal.isig[:, 2:46], truth.phases


def lazy(signal, chunks):
    if chunks is None:
        return signal
    result = signal.as_lazy()
    result.data = da.from_array(signal.data, chunks=chunks)
    return result


@pytest.mark.parametrize("chunks", [None, (5, 27, 44, 48), (22, 4, 20, 48), (7, 6, 44, 13)])
@pytest.mark.parametrize("lazy_output", [None, False, True])
def test_presence_in_any_chunking(example, chunks, lazy_output):
    part = example[0].inav[:8, :7]
    if chunks is not None:
        chunks = tuple(min(c, n) for c, n in zip(chunks, part.data.shape, strict=True))
    signal = lazy(part, chunks)
    before = np.array(part.data)
    found = GroupingMethods(signal).bragg_presence(1.5, lazy_output=lazy_output, **HOW)
    is_lazy = chunks is not None if lazy_output is None else lazy_output
    assert found._lazy is is_lazy and isinstance(found.data, da.Array if is_lazy else np.ndarray)
    assert found._signal_type == signal._signal_type
    assert found.data.dtype == np.float32
    np.testing.assert_allclose(np.asarray(found.data), bragg_presence(part.data, 1.5), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(signal.data), before)
    assert found.metadata.General.title == "Presence of Bragg discs"
    for one, other in zip(found.axes_manager._axes, signal.axes_manager._axes, strict=True):
        assert one.get_axis_dictionary() == other.get_axis_dictionary()


def test_presence_takes_centre_and_mask_and_dose(example):
    part = example[0].inav[:4, :3]
    mask = np.zeros(part.data.shape[2:], bool)
    mask[10:20, 5:12] = True
    how = {"centre": (24, 22), "dose_per_count": 0.5, "contrast": 0.7}
    found = GroupingMethods(part).bragg_presence(1.5, mask=mask, **how, **HOW)
    how["centre"] = (24, 22)
    expected = bragg_presence(part.data, 1.5, mask=~mask, **how)
    np.testing.assert_allclose(found.data, expected, atol=1e-6)


@pytest.mark.parametrize("chunks", [None, (5, 27, 44, 48), (22, 4, 20, 48)])
def test_phases_and_their_exemplars(example, chunks):
    signal, phases = example
    before = signal.data.copy()
    given = lazy(signal, chunks)
    found = GroupingMethods(given).group_patterns(beam_radius=1.5, **HOW)
    assert found.n_phases == 2 and found.centre == pytest.approx((24, 22), abs=0.1)
    labels = found.labels.data
    right = max((labels == phases).mean(), (labels == 1 - phases).mean())
    assert right > 0.98
    assert found.labels.axes_manager.signal_shape == SCAN[::-1]
    assert [a.name for a in found.labels.axes_manager.signal_axes] == ["x", "y"]
    assert found.exemplars._signal_type == signal._signal_type
    assert found.exemplars.axes_manager.navigation_shape == (2,)
    for phase in range(2):
        mean = signal.data[labels == phase].mean(0)
        np.testing.assert_allclose(found.exemplars.data[phase], mean, rtol=1e-5)
    scale = [axis.offset for axis in found.exemplars.axes_manager.signal_axes]
    assert scale == [axis.offset for axis in signal.axes_manager.signal_axes]
    assert any(merge.n_phases == 2 and merge.log_odds < 0 for merge in found.evidence)
    np.testing.assert_array_equal(signal.data, before)


def test_eager_and_lazy_give_the_same(example):
    signal, _ = example
    one, other = (
        GroupingMethods(s).group_patterns(beam_radius=1.5, **HOW)
        for s in (signal, lazy(signal, (6, 5, 44, 48)))
    )
    np.testing.assert_array_equal(one.labels.data, other.labels.data)
    np.testing.assert_allclose(one.exemplars.data, other.exemplars.data, rtol=1e-5)


def test_the_radius_is_estimated():
    signal, truth = simulated_phases(1, scan_shape=(12, 14), n_phases=2)
    found = GroupingMethods(signal).group_patterns(**HOW)
    assert found.beam_radius == pytest.approx(truth.beam_radius, rel=0.1)
    assert found.n_phases == 2


def test_patterns_that_are_masked_have_no_phase_and_no_part_in_exemplars(example):
    signal, _ = example
    mask = np.zeros(SCAN, bool)
    mask[:, 20:] = True
    spoilt = signal.deepcopy()
    spoilt.data[mask] = 60_000
    found = GroupingMethods(spoilt).group_patterns(
        beam_radius=1.5, centre=(24, 22), navigation_mask=mask.T, **HOW
    )
    assert (found.labels.data[mask] == -1).all()
    assert found.n_phases == 2 and found.exemplars.data.max() < 2000


def test_dead_pixels_are_ignored(example):
    signal, phases = example
    mask = np.zeros(signal.data.shape[2:], bool)
    mask[12, 31] = mask[5:8, 20] = True
    spoilt = signal.deepcopy()
    spoilt.data[..., mask] = 60_000
    found = GroupingMethods(spoilt).group_patterns(beam_radius=1.5, mask=mask, **HOW)
    assert found.n_phases == 2
    labels = found.labels.data
    assert max((labels == phases).mean(), (labels == 1 - phases).mean()) > 0.97


@pytest.mark.parametrize("shape", [(30,), (2, 3, 5)])
def test_any_number_of_navigation_axes(example, shape):
    frames = example[0].data.reshape(-1, 44, 48)[: int(np.prod(shape))]
    signal = hs.signals.Signal2D(frames.reshape(*shape, 44, 48))
    found = GroupingMethods(signal).group_patterns(beam_radius=1.5, **HOW)
    assert found.labels.data.shape == shape
    labels_axes = found.labels.axes_manager
    assert labels_axes.navigation_shape + labels_axes.signal_shape
    assert GroupingMethods(signal).bragg_presence(1.5, **HOW).data.shape == (*shape, 44, 48)


def test_without_crystals_there_are_no_exemplars():
    frames = np.random.default_rng(0).poisson(0.02, (4, 5, 30, 34))
    frames[..., 14:17, 16:19] += 50
    found = GroupingMethods(hs.signals.Signal2D(frames)).group_patterns(beam_radius=1.5, **HOW)
    assert found.n_phases == 0 and found.exemplars is None
    assert (found.labels.data == -1).all()


def test_says_what_is_wrong(example):
    methods = GroupingMethods(example[0])
    with pytest.raises(ValueError, match="radius of a disc is -1"):
        methods.bragg_presence(-1, **HOW)
    with pytest.raises(ValueError, match="no place in frames of 48 x 44"):
        methods.group_patterns(beam_radius=2, centre=(99, 3), **HOW)
    with pytest.raises(ValueError, match="n_phases=0"):
        methods.group_patterns(0, beam_radius=2, **HOW)
    with pytest.raises(ValueError, match="contrast is 0"):
        GroupingMethods(example[0].as_lazy()).bragg_presence(2, centre=(24, 22), contrast=0, **HOW)
    with pytest.raises(ValueError, match="Pass beam_radius in px"):
        empty = hs.signals.Signal2D(np.ones((3, 4, 20, 24)))
        GroupingMethods(empty).group_patterns(**HOW)
    with pytest.raises(ValueError, match="1 signal axes"):
        GroupingMethods(hs.signals.Signal1D(np.ones((3, 4)))).group_patterns(**HOW)
    with pytest.raises(ValueError, match="no navigation axes"):
        GroupingMethods(hs.signals.Signal2D(np.ones((20, 24)))).bragg_presence(2, **HOW)


def test_fewer_phases_than_asked_for_are_said():
    signal, _ = simulated_phases(1, scan_shape=(12, 14), n_phases=2)
    with pytest.warns(UserWarning, match=r"9 phases were asked for, and patterns are of \d only"):
        signal.emsparse.group_patterns(9, n_groups=10, show_progressbar=False)


def test_no_phases_are_said():
    counts = np.random.default_rng(0).poisson(2.0, (6, 7, 48, 48)).astype(np.uint16)
    with pytest.warns(UserWarning, match="there are no phases. Check the radius of the beam"):
        found = hs.signals.Signal2D(counts).emsparse.group_patterns(
            beam_radius=4, n_groups=4, show_progressbar=False
        )
    assert (found.labels.data == -1).all()
