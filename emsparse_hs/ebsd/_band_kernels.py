# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over bands and their pixels; the contrast has a numpy twin in the tests."""

import math

import numba
import numpy as np

#: Unknowns of the model of a band: offset, height, two tilts of the normal, half width.
_N_UNKNOWNS = 5
#: Pixels that a fit or a mean needs, at least.
FEWEST_PIXELS = 20
#: A fit ends when its angles change by less than this in a step, in radians.
_AT_REST = 2e-4
#: Numbers that leave single precision as it is.
_ZERO, _QUARTER, _HALF, _STEEP, _ONE = np.array([0, 0.25, 0.5, 0.75, 1], np.float32)
#: Bins of the profile across a band, from its middle outwards.
_N_BINS = 24
#: Half length of an edge, a sine, beside that of a pixel: of several orders, none of them sharp,
#: it tells less of its place than a step does.
_SOFT = np.float32(0.009)


@numba.njit(nogil=True, cache=True)
def first_apart(normals, cosine, limit, chosen):
    """Choose bands in the given order, each apart from all that were chosen before.

    Parameters
    ----------
    normals : float64 array of shape (n, 3)
        Unit vectors.
    cosine : float
        Of the smallest angle between two bands.
    limit : int
        How many to choose at most.
    chosen : int64 array of shape (at least limit,)
        Its first elements are filled.

    Returns
    -------
    int
        How many were chosen.
    """
    count = 0
    for i in range(len(normals)):
        apart = count < limit
        for k in range(count):
            other = normals[chosen[k]]
            product = normals[i, 0] * other[0] + normals[i, 1] * other[1] + normals[i, 2] * other[2]
            apart = apart and abs(product) < cosine
        if apart:
            chosen[count] = i
            count += 1
    return count


@numba.njit(nogil=True, cache=True)
def fit_bands(values, directions, softness, margin, limits, n_iterations, normals, fitted):
    r"""Fit each band as a soft-edged plateau by least squares.

    With the sine x of a pixel's angle to the band's plane, the model near the band is

    .. math:: o + h\,[S((w - x) / s) + S((w + x) / s) - 1]

    with offset o, height h, the sine w of the half width and a smooth step S of half length s, a
    pixel's width.

    Parameters
    ----------
    values : float32 array of shape (n_pixels,)
        Intensities.
    directions : float32 array of shape (3, n_pixels)
        Unit vectors of the pixels.
    softness : float32 array of shape (n_pixels,)
        s of each pixel.
    margin : float
        Width of the strips on both sides of a band that are fitted with it, a sine.
    limits : float64 array of shape (2,)
        Smallest and largest w.
    n_iterations : int
        Steps of the fit.
    normals : float64 array of shape (n_bands, 3)
        Unit normals to start from; changed to the fitted ones.
    fitted : float64 array of shape (n_bands, 3)
        Filled with w, h, and the contrast, see `contrast`; NaN where too few pixels are near.
    """
    near, places = np.empty((5, values.size), np.float32), np.empty(values.size, np.int64)
    for b in range(len(normals)):
        reach = limits[1] + 1.5 * margin
        n_near = gather(values, directions, softness, normals[b], reach, near, places)
        if n_near < FEWEST_PIXELS:
            fitted[b] = np.nan
            continue
        level = np.zeros(2)
        width = _first_width(near, n_near, margin, limits, normals[b])
        width = fit_band(near, n_near, margin, limits, n_iterations, normals[b], width, level)
        fitted[b, 0], fitted[b, 1] = width, level[1]
        fitted[b, 2] = contrast(near, n_near, normals[b], width, width + margin)


@numba.njit(nogil=True, cache=True)
def gather(values, directions, softness, normal, reach, near, places):
    """Copy the pixels within reach of a band's plane: x, y, z, 1 / softness, value.

    Returns how many they are; `places` are filled with where they are among all.
    """
    # Loops without a branch: no processor would foresee which pixels are near.
    across, count = near[4], 0
    _distances(directions, normal, across)
    for p in range(values.size):
        places[count] = p
        count += int(across[p] <= reach)
    for k in range(count):
        p = places[k]
        near[0, k], near[1, k], near[2, k] = directions[0, p], directions[1, p], directions[2, p]
        near[3, k], near[4, k] = 1 / softness[p], values[p]
    return count


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _distances(directions, normal, across):
    """Sines of the pixels' angles to a plane, without their signs."""
    a, b, c = np.float32(normal[0]), np.float32(normal[1]), np.float32(normal[2])
    for p in range(directions.shape[1]):
        x, y, z = directions[0, p], directions[1, p], directions[2, p]
        across[p] = abs(x * a + y * b + z * c)


@numba.njit(nogil=True, cache=True)
def fit_band(near, n_near, margin, limits, n_iterations, normal, width, level):
    """Gauss-Newton steps of bounded length; returns the width.

    The normal and the level, offset and height, are changed in place.
    """
    matrix, vector = np.empty((_N_UNKNOWNS, _N_UNKNOWNS)), np.empty(_N_UNKNOWNS)
    u, v = np.empty(3), np.empty(3)
    largest_step = 0.35 * margin
    for iteration in range(n_iterations):
        _tangents(normal, u, v)
        _normal_equations(near, n_near, width + margin, normal, u, v, level, width, matrix, vector)
        # The geometry is held until the height is known.
        _solve(matrix, vector, 2 if iteration == 0 else _N_UNKNOWNS)
        level += vector[:2]
        turn = math.hypot(vector[2], vector[3])
        damping = min(1.0, largest_step / turn) if turn > 0 else 0.0
        for i in range(3):
            normal[i] += damping * (vector[2] * u[i] + vector[3] * v[i])
        normal /= math.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
        step = min(max(vector[4], -largest_step), largest_step)
        width = min(max(width + step, limits[0]), limits[1])
        if iteration > 1 and max(turn, abs(step)) < _AT_REST:
            break
    return width


@numba.njit(nogil=True, cache=True)
def _first_width(near, n_near, margin, limits, normal):
    """Half width of the highest contrast for white noise, from the mean profile across a band."""
    total, number = np.zeros(_N_BINS + 1), np.zeros(_N_BINS + 1)
    bin_width = (limits[1] + margin) / _N_BINS
    for p in range(n_near):
        x = abs(near[0, p] * normal[0] + near[1, p] * normal[1] + near[2, p] * normal[2])
        if x < limits[1] + margin:
            total[1 + int(x / bin_width)] += near[4, p]
            number[1 + int(x / bin_width)] += 1
    total, number = np.cumsum(total), np.cumsum(number)
    best, width = -np.inf, limits[0]
    beside = int(round(margin / bin_width))
    for inner in range(int(limits[0] / bin_width) + 1, _N_BINS - beside + 1):
        outer = inner + beside
        n_in, n_out = number[inner], number[outer] - number[inner]
        if min(n_in, n_out) < FEWEST_PIXELS:
            continue
        difference = total[inner] / n_in - (total[outer] - total[inner]) / n_out
        z = difference / math.sqrt(1 / n_in + 1 / n_out)
        if z > best:
            best, width = z, inner * bin_width
    return width


@numba.njit(nogil=True, cache=True, fastmath=True)
def _normal_equations(near, n_near, reach, normal, u, v, level, width, matrix, vector):
    """Fill the lower triangle of J'J, and J'r, of the model in `fit_bands`.

    The sums have names of their own, the loop no branch, and all are of single precision, so that
    it runs on many pixels at once.
    """
    n00 = n10 = n20 = n30 = n40 = n11 = n21 = n31 = n41 = _ZERO
    n22 = n32 = n42 = n33 = n43 = n44 = r0 = r1 = r2 = r3 = r4 = _ZERO
    a, b, c = np.float32(normal[0]), np.float32(normal[1]), np.float32(normal[2])
    u0, u1, u2 = np.float32(u[0]), np.float32(u[1]), np.float32(u[2])
    v0, v1, v2 = np.float32(v[0]), np.float32(v[1]), np.float32(v[2])
    offset, height = np.float32(level[0]), np.float32(level[1])
    width, reach = np.float32(width), np.float32(reach)
    for p in range(n_near):
        x, y, z, inverse = near[0, p], near[1, p], near[2, p], near[3, p]
        across = x * a + y * b + z * c
        inside = _ONE if abs(across) <= reach else _ZERO
        one, slope_one = edge((width - across) * inverse)
        other, slope_other = edge((width + across) * inverse)
        high = inside * (one + other - _ONE)
        sideways = inside * height * (slope_other - slope_one) * inverse
        first = sideways * (x * u0 + y * u1 + z * u2)
        second = sideways * (x * v0 + y * v1 + z * v2)
        wider = inside * height * (slope_one + slope_other) * inverse
        left = inside * (near[4, p] - offset) - height * high
        n00, n10, n20, n30, n40 = n00 + inside, n10 + high, n20 + first, n30 + second, n40 + wider
        n11, n21, n31 = n11 + high * high, n21 + high * first, n31 + high * second
        n41, n22, n32 = n41 + high * wider, n22 + first * first, n32 + first * second
        n42, n33, n43 = n42 + first * wider, n33 + second * second, n43 + second * wider
        n44, r0, r1 = n44 + wider * wider, r0 + left, r1 + high * left
        r2, r3, r4 = r2 + first * left, r3 + second * left, r4 + wider * left
    matrix[0, 0], matrix[1, 0], matrix[2, 0], matrix[3, 0], matrix[4, 0] = n00, n10, n20, n30, n40
    matrix[1, 1], matrix[2, 1], matrix[3, 1], matrix[4, 1] = n11, n21, n31, n41
    matrix[2, 2], matrix[3, 2], matrix[4, 2] = n22, n32, n42
    matrix[3, 3], matrix[4, 3], matrix[4, 4] = n33, n43, n44
    vector[0], vector[1], vector[2], vector[3], vector[4] = r0, r1, r2, r3, r4


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def edge(t):
    """Smooth step from 0 at t = -1 to 1 at t = 1, and its slope."""
    t = min(max(t, -_ONE), _ONE)
    return _HALF + t * (_STEEP - _QUARTER * t * t), _STEEP * (_ONE - t * t)


@numba.njit(nogil=True, cache=True)
def _tangents(normal, u, v):
    """Two unit vectors that are orthogonal to the normal and to each other."""
    if abs(normal[0]) < 0.8:
        u[0], u[1], u[2] = 0.0, normal[2], -normal[1]
    else:
        u[0], u[1], u[2] = -normal[2], 0.0, normal[0]
    u /= math.sqrt(u[0] ** 2 + u[1] ** 2 + u[2] ** 2)
    v[0] = normal[1] * u[2] - normal[2] * u[1]
    v[1] = normal[2] * u[0] - normal[0] * u[2]
    v[2] = normal[0] * u[1] - normal[1] * u[0]


@numba.njit(nogil=True, cache=True)
def _solve(matrix, vector, n):
    """Solve for the first n unknowns in place by Cholesky's method, and set the others to zero.

    The diagonal is raised by a thousandth and a constant (Marquardt, J. SIAM 11 (1963) 431), so
    that a band without height, whose place is not determined, stays where it is. The constant is
    for intensities of standard deviation 1.
    """
    for i in range(n):
        matrix[i, i] = matrix[i, i] * (1 + 1e-3) + 1e-9
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / matrix[j, j]
        total = vector[i]
        for k in range(i):
            total -= matrix[i, k] * vector[k]
        vector[i] = total / matrix[i, i]
    for i in range(n - 1, -1, -1):
        total = vector[i]
        for k in range(i + 1, n):
            total -= matrix[k, i] * vector[k]
        vector[i] = total / matrix[i, i]
    vector[n:] = 0


@numba.njit(nogil=True, cache=True)
def contrast(near, n_near, normal, width, reach):
    """Mean inside a band minus mean of the other pixels within reach, over the standard error.

    The standard error is that of the difference of two means of unequal variance (Welch,
    Biometrika 34 (1947) 28). NaN if there are too few pixels on either side.
    """
    number, total, square = np.zeros(2), np.zeros(2), np.zeros(2)
    for p in range(n_near):
        x = near[0, p] * normal[0] + near[1, p] * normal[1] + near[2, p] * normal[2]
        if abs(x) > reach:
            continue
        part = 0 if abs(x) <= width else 1
        number[part] += 1
        total[part] += near[4, p]
        square[part] += near[4, p] ** 2
    if number.min() < FEWEST_PIXELS:
        return np.nan
    mean = total / number
    variance = (square / number - mean**2) / (number - 1)
    return (mean[0] - mean[1]) / math.sqrt(max(variance[0] + variance[1], 1e-12))


@numba.njit(nogil=True, cache=True)
def standard_errors(near, n_near, reach, normal, width, height):
    r"""Standard errors of a band that was fitted, by the curvature of the sum of squares.

    The covariance of the unknowns in `fit_bands` is :math:`s^2 (J^T J)^{-1}`, with the variance s^2
    of what is left: the Cramer-Rao bound for white noise. Here edges are softer than in the fit, by
    `_SOFT`: those of bands are.

    Parameters
    ----------
    near : float32 array of shape (5, at least n_near)
        From `gather`, with what all bands together leave of the values; its 1 / softness is
        changed.
    reach : float
        Sine of the angle from the band's plane to where pixels were fitted.

    Returns
    -------
    tuple of float
        Root mean square angle of the normal to where it should be, in radians, and standard
        deviation of the half width, relative.
    """
    matrix, vector = np.empty((_N_UNKNOWNS, _N_UNKNOWNS)), np.empty(_N_UNKNOWNS)
    u, v, level = np.empty(3), np.empty(3), np.array([0.0, height])
    _tangents(normal, u, v)
    _soften(near[3], n_near)
    _normal_equations(near, n_near, reach, normal, u, v, level, width, matrix, vector)
    for i in range(_N_UNKNOWNS):
        # Where no pixel tells of an unknown, its error is large, and not infinite.
        matrix[i, i] = matrix[i, i] * (1 + 1e-6) + 1e-9
        for j in range(i):
            matrix[j, i] = matrix[i, j]
    number = matrix[0, 0]
    square, total = _squares(near, n_near, reach, normal)
    variance = (square - total**2 / number) / max(number - _N_UNKNOWNS, 1)
    covariance = variance * np.linalg.inv(matrix)
    direction = math.sqrt(covariance[2, 2] + covariance[3, 3])
    return direction, math.sqrt(covariance[4, 4]) / width


@numba.njit(nogil=True, cache=True, fastmath=True)
def _soften(inverse, n):
    """Make edges as soft as those of bands."""
    for k in range(n):
        inverse[k] /= np.sqrt(_ONE + (_SOFT * inverse[k]) ** 2)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _squares(near, n_near, reach, normal):
    """Sum of squares, and sum, of the values within reach."""
    square, total = _ZERO, _ZERO
    a, b, c = np.float32(normal[0]), np.float32(normal[1]), np.float32(normal[2])
    for p in range(n_near):
        across = near[0, p] * a + near[1, p] * b + near[2, p] * c
        value = near[4, p] if abs(across) <= np.float32(reach) else _ZERO
        square, total = square + value * value, total + value
    return square, total
