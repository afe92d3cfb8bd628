# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilts in the metadata of files of microscopes."""

import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.signals import TiltSeries

STAGE = "Acquisition_instrument.TEM.Stage.tilt_alpha"
PLAN = "ImageList.TagGroup0.ImageTags.Tomography.Tomography_setup.Tilt_angles"


def planned(n_images, **tags):
    series = TiltSeries(np.ones((n_images, 4, 5)))
    usual = {
        "Tilt_model": "equal",
        "Tilt_direction": "min -> max",
        "Minimum_tilt_angle_deg": -45.0,
        "Maximum_tilt_angle_deg": 45.0,
        "Tilt_angle_step_deg": 22.5,
    }
    series.original_metadata.set_item(PLAN, usual | tags)
    return series


def stacked(tilts):
    images = []
    for k, tilt in enumerate(tilts):
        image = hs.signals.Signal2D(np.full((4, 5), k))
        if tilt is not None:
            image.metadata.set_item(STAGE, tilt)
        images.append(image)
    series = hs.stack(images, show_progressbar=False)
    series.set_signal_type("tilt_series")
    return series


@pytest.mark.parametrize("lazy", [False, True])
def test_what_digital_micrograph_was_told(lazy):
    series = planned(5)
    # Of the last image, which says nothing of the others.
    series.metadata.set_item(STAGE, 44.9)
    series = series.as_lazy() if lazy else series
    series.set_tilts()
    np.testing.assert_allclose(series.tilts, [-45, -22.5, 0, 22.5, 45])


def test_from_the_highest_to_the_lowest_and_a_step_that_does_not_fit():
    series = planned(
        4, Tilt_direction="max -> min", Maximum_tilt_angle_deg=40.0, Tilt_angle_step_deg=28.3
    )
    series.set_tilts()
    np.testing.assert_allclose(series.tilts, [40, 11.7, -16.6, -44.9])


@pytest.mark.parametrize(
    "n_images, tags",
    [
        (6, {}),
        (5, {"Tilt_direction": "start -> min; start -> max"}),
        (5, {"Tilt_model": "Saxton"}),
        (5, {"Tilt_angle_step_deg": 0.0}),
        (1, {"Maximum_tilt_angle_deg": -45.0}),
    ],
)
def test_plans_that_do_not_tell_are_refused(n_images, tags):
    with pytest.raises(ValueError, match="no tilts in metadata"):
        planned(n_images, **tags).set_tilts()


def test_what_the_stage_says_goes_before_the_plan():
    series = planned(5)
    series.metadata.set_item(STAGE, np.arange(5.0))
    series.set_tilts()
    np.testing.assert_array_equal(series.tilts, np.arange(5))


def test_files_of_one_image_each():
    series = stacked([0.1, -20.2, 30.3])
    series.set_tilts(sort=True)
    np.testing.assert_array_equal(series.tilts, [-20.2, 0.1, 30.3])
    np.testing.assert_array_equal(series.data[:, 0, 0], [1, 0, 2])


def test_files_of_one_image_each_that_have_room_for_more_tilts():
    series = stacked([np.r_[20.0, np.zeros(5)], np.r_[30.0, np.zeros(5)]])
    series.set_tilts()
    np.testing.assert_array_equal(series.tilts, [20, 30])


def test_a_file_without_a_tilt_is_said():
    with pytest.raises(ValueError, match="no tilts in metadata"):
        stacked([0.1, None, 30.3]).set_tilts()
    with pytest.raises(ValueError, match="for 2 images"):
        stacked([0.1, 20, 30.3]).inav[:2].set_tilts()
