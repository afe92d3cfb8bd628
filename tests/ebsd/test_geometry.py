# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The detector's geometry against kikuchipy's, and against its own definitions."""

import numpy as np
import pytest

from emsparse_hs.ebsd.geometry import (
    angles_from_normals,
    as_pattern_centre,
    band_edge,
    corrected_centre,
    normals_from_angles,
    pixel_directions,
    to_pixels,
    upward,
)

CENTRE = (0.42, 0.21, 0.55)
SHAPE = (24, 36)


def random_normals(n=50, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_gnomonic_coordinates_are_those_of_kikuchipy():
    kikuchipy = pytest.importorskip("kikuchipy")
    detector = kikuchipy.detectors.EBSDDetector(shape=SHAPE, pc=CENTRE)
    directions = pixel_directions(SHAPE, CENTRE)
    x, y = directions[..., 0] / directions[..., 2], directions[..., 1] / directions[..., 2]
    # kikuchipy gives the outer edges of the screen, half a pixel from the first pixel's middle.
    (left, right), (bottom, top) = np.ravel(detector.x_range), np.ravel(detector.y_range)
    column, row = (right - left) / SHAPE[1], (top - bottom) / SHAPE[0]
    np.testing.assert_allclose(x[0], left + column * (np.arange(SHAPE[1]) + 0.5), atol=1e-12)
    np.testing.assert_allclose(y[:, 0], top - row * (np.arange(SHAPE[0]) + 0.5), atol=1e-12)


def test_directions_are_unit_vectors_in_a_right_handed_frame():
    directions = pixel_directions(SHAPE, CENTRE)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
    assert directions[0, -1, 0] > directions[0, 0, 0]
    assert directions[0, 0, 1] > directions[-1, 0, 1]
    assert (directions[..., 2] > 0).all()


def test_one_centre_for_each_pattern():
    centres = np.array([CENTRE, (0.5, 0.6, 0.7)])
    both = pixel_directions(SHAPE, centres)
    for one, centre in zip(both, centres, strict=True):
        np.testing.assert_array_equal(one, pixel_directions(SHAPE, centre))


def test_pixels_and_directions_are_inverse():
    x, y = to_pixels(3 * pixel_directions(SHAPE, CENTRE), SHAPE, CENTRE)
    rows, columns = np.indices(SHAPE)
    np.testing.assert_allclose(x, columns, atol=1e-9)
    np.testing.assert_allclose(y, rows, atol=1e-9)
    assert np.isnan(to_pixels((0, 0, -1), SHAPE, CENTRE)).all()


def test_angles_and_normals_are_inverse():
    normals = random_normals()
    azimuths, elevations = angles_from_normals(normals)
    assert ((azimuths >= 0) & (azimuths < 180)).all()
    np.testing.assert_allclose(
        normals_from_angles(azimuths, elevations), upward(normals), atol=1e-9
    )


@pytest.mark.parametrize("azimuth", [0, 180, 360, -180, 90, 179.9999999999999])
@pytest.mark.parametrize("elevation", [-30, 0, 10])
def test_the_band_stays_the_same_at_the_end_of_the_azimuths(azimuth, elevation):
    turned = normals_from_angles(azimuth, elevation)
    for y in (turned[1], 0.0, -0.0, 1e-17, -1e-17):
        normal = np.array([turned[0], y if azimuth % 180 == 0 else turned[1], turned[2]])
        angles = angles_from_normals(normal)
        assert 0 <= angles[0] < 180
        assert abs(normals_from_angles(*angles) @ normal) == pytest.approx(1, abs=1e-12)


def test_elevation_is_the_angle_to_the_pattern_centre():
    normals = random_normals()
    elevations = angles_from_normals(normals)[1]
    angle = 90 - np.degrees(np.arccos(np.abs(normals[:, 2])))
    np.testing.assert_allclose(np.abs(elevations), angle, atol=1e-6)


def test_a_band_of_positive_elevation_lies_on_the_side_of_its_azimuth():
    right = normals_from_angles(0, 10)
    x, _ = band_edge(right, 0, SHAPE, (0.5, 0.5, 0.5))
    assert np.nanmin(x) > SHAPE[1] / 2


@pytest.mark.parametrize("angle", [-4.0, 0.0, 2.5])
@pytest.mark.parametrize("normal", [*random_normals(4), np.array([0.0, 0.0, 1.0])])
def test_edges_keep_their_angle_to_the_plane(normal, angle):
    x, y = band_edge(normal, angle, SHAPE, CENTRE)
    pcx, pcy, pcz = CENTRE
    lines = np.stack(
        [
            x + 0.5 - pcx * SHAPE[1],
            pcy * SHAPE[0] - y - 0.5,
            np.full(x.shape, pcz * SHAPE[0]),
        ],
        axis=-1,
    )[np.isfinite(x)]
    sines = lines @ normal / np.linalg.norm(lines, axis=1)
    np.testing.assert_allclose(np.degrees(np.arcsin(sines)), angle, atol=1e-6)


@pytest.mark.parametrize(
    ("centre", "message"),
    [
        ((0.5, 0.5), "has shape"),
        (np.zeros((4, 3)), "one for each of 5"),
        ((0.5, np.nan, 0.5), "finite"),
        ((0.5, 0.5, 0.0), "positive"),
    ],
)
def test_says_what_is_wrong_with_a_centre(centre, message):
    with pytest.raises(ValueError, match=message):
        as_pattern_centre(centre, 5)


def test_a_pattern_centre_in_pixels_is_refused():
    with pytest.raises(ValueError, match="can't be fractions"):
        pixel_directions((60, 60), (25, 13, 30))


def test_errors_of_pattern_centres_are_over_the_distance():
    right = (0.45, 0.18, 0.56)
    (x, y), (right_x, right_y) = (to_pixels((0, 0, 1), SHAPE, c) for c in (CENTRE, right))
    distance = CENTRE[2] * SHAPE[0]
    errors = (right_x - x) / distance, (y - right_y) / distance, right[2] / CENTRE[2] - 1
    np.testing.assert_allclose(corrected_centre(CENTRE, errors, SHAPE), right)
