# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bands of simulated patterns: how many are true, how well they lie, and how fast they are found.

Run it with ``python benchmarks/band_detection.py --crystals TABLE``, the table being that of
``scripts/collect_crystals.py``. Ours and PyEBSDIndex, where that is installed, find the same number
of bands in the same two-beam images, made around the nominal pattern centre. A band is true if it
is within a degree of one of the crystal's strongest planes. Times are CPU seconds, the best of some
runs.

With ``--sigmas`` it is told instead how well ours know their errors, for each quarter of the bands
by their standard error. Pattern centres are exact then, whose errors no band knows of.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from bravais import choose_crystals
from kikuchi_truth import (
    BEAM_ENERGY,
    PATTERN_CENTRE,
    Crystal,
    Planes,
    parallel_planes,
    pixel_directions,
    read_crystals,
    two_beam,
)
from scipy.spatial.transform import Rotation
from scipy.stats import median_abs_deviation

from emsparse_hs.ebsd import Bands, detect_bands
from emsparse_hs.electron import relativistic_wavelength

#: Planes of each crystal that bands may be of, in degrees how near, and pixels each way that are
#: averaged to one.
N_PLANES, NEAR, FINE = 60, 1.0, 3
#: Widths are compared if their logarithms are so near, and the share of normals that lie within
#: their standard error: 0.63 if errors are alike in all directions, and 0.68 if all in one.
NEAR_WIDTH, WITHIN = 0.3, 0.66

Detect = Callable[[np.ndarray, int], np.ndarray]


def ours(images: np.ndarray, n_bands: int) -> np.ndarray:
    """Normals of the bands, (n, n_bands, 3), NaN where there are fewer."""
    return detect_bands(images, PATTERN_CENTRE, n_bands).normals


def pyebsdindex(images: np.ndarray, n_bands: int) -> np.ndarray:
    """The same of PyEBSDIndex with its own settings, in our frame."""
    from pyebsdindex.band_detect import BandDetect

    detector = BandDetect(patDim=images.shape[1:], nBands=n_bands)
    found = detector.find_bands(images.astype(np.float32))
    normals = detector.radonPlan.radon2pole(found, PC=PATTERN_CENTRE, vendor="KIKUCHIPY")
    return np.where(found["valid"][..., None] > 0, normals, np.nan)


def draw(crystal: Crystal, n_pixels: int, noise: float, jitter: float, rng):
    """A pattern of pixels that average, and the rotation from the crystal's frame."""
    rotation = Rotation.random(random_state=rng).as_matrix()
    centre = np.array(PATTERN_CENTRE) + rng.normal(0, jitter, 3)
    rays = pixel_directions((FINE * n_pixels, FINE * n_pixels), centre).reshape(-1, 3)
    fine = two_beam(crystal)(rays @ rotation).reshape(n_pixels, FINE, n_pixels, FINE)
    image = fine.mean(axis=(1, 3))
    image = (image - image.mean()) / image.std()
    return image + rng.normal(0, noise, image.shape), rotation


def angles(normals: np.ndarray, planes: Planes, rotation: np.ndarray) -> np.ndarray:
    """Degrees from each band that was found to the nearest plane."""
    strongest = np.argsort(-planes.totals)[:N_PLANES]
    true = planes.normals[strongest] @ rotation.T
    cosines = np.abs(normals[np.isfinite(normals[:, 0])] @ true.T).max(axis=1, initial=0)
    return np.degrees(np.arccos(np.clip(cosines, 0, 1)))


def over_sigma(bands: Bands, planes: list[Planes], rotations) -> tuple[np.ndarray, np.ndarray]:
    """Of true bands: sigma and the error over it, (n, 2), of directions and of widths."""
    directions, widths = [], []
    for p, (plane, rotation) in enumerate(zip(planes, rotations, strict=True)):
        found = np.isfinite(bands.contrasts[p])
        strongest = np.argsort(-plane.totals)[:N_PLANES]
        cosines = np.abs(bands.normals[p][found] @ rotation @ plane.normals[strongest].T)
        off = np.degrees(np.arccos(np.clip(cosines.max(axis=1), 0, 1)))
        sines = relativistic_wavelength(BEAM_ENERGY) * plane.lengths[strongest] / 2
        widest = np.sin(np.radians(bands.half_widths[p][found, None]))
        ratios = np.log(widest / sines[cosines.argmax(axis=1)])
        ratio = ratios[np.arange(len(ratios)), np.abs(ratios).argmin(axis=1)]
        is_true, like = off < NEAR, np.abs(ratio) < NEAR_WIDTH
        for errors, sigmas, told, kept in (
            (off, bands.direction_sigmas, directions, is_true),
            (ratio, bands.width_sigmas, widths, is_true & like),
        ):
            sigma = sigmas[p][found][kept]
            told.append(np.stack([sigma, errors[kept] / sigma], axis=1))
    return np.concatenate(directions), np.concatenate(widths)


def tell_sigmas(bands: Bands, planes: list[Planes], rotations) -> None:
    """Print how errors spread over their standard errors: 1 where these are right."""
    directions, widths = over_sigma(bands, planes, rotations)
    for name, table in (("directions", directions), ("widths", widths)):
        edges = np.quantile(table[:, 0], [0.25, 0.5, 0.75])
        parts = [table, *(table[np.digitize(table[:, 0], edges) == k] for k in range(4))]
        spreads = [
            np.quantile(part[:, 1], WITHIN)
            if name == "directions"
            else median_abs_deviation(part[:, 1], scale="normal")
            for part in parts
        ]
        quarters = ", ".join(f"{s:.2f}" for s in spreads[1:])
        print(
            f"{name}: {len(table)} bands of sigma {np.median(table[:, 0]):.3f} in the median, "
            f"errors over it {spreads[0]:.2f}; by quarters of sigma {quarters}"
        )


def cpu_seconds(detect: Detect, images: np.ndarray, n_bands: int, repeats: int) -> float:
    """The best of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        detect(images, n_bands)
        times.append(time.process_time() - start)
    return min(times)


def parse() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", required=True, help="table of crystals, JSON")
    parser.add_argument("--split", choices=("even", "odd"))
    parser.add_argument("--limit", type=int, help="crystals of a lattice")
    parser.add_argument("--largest", type=int, help="atoms of a primitive cell")
    parser.add_argument("--pixels", type=int, default=60, help="width of a pattern")
    parser.add_argument("--n-bands", type=int, default=12)
    parser.add_argument("--noise", type=float, default=0.5, help="over the pattern's own spread")
    parser.add_argument("--jitter", type=float, default=0.003, help="of the pattern centre")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours", action="store_true", help="leave the other out")
    parser.add_argument("--sigmas", action="store_true", help="tell of standard errors instead")
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.real_only = True
    warnings.filterwarnings("ignore")
    rng = np.random.default_rng(options.seed)
    crystals = choose_crystals(read_crystals(options.crystals), options)
    jitter = 0.0 if options.sigmas else options.jitter
    drawn = [draw(c, options.pixels, options.noise, jitter, rng) for c in crystals]
    images = np.array([image for image, _ in drawn])
    planes = [parallel_planes(crystal) for crystal in crystals]
    if options.sigmas:
        bands = detect_bands(images, PATTERN_CENTRE, options.n_bands)
        tell_sigmas(bands, planes, [rotation for _, rotation in drawn])
        return
    many = np.tile(images, (max(1, 600 // len(images)), 1, 1))
    ways = {"ours": ours} if options.ours else {"ours": ours, "PyEBSDIndex": pyebsdindex}
    for name, detect in ways.items():
        normals = detect(images, options.n_bands)  # compiles
        off = np.concatenate(
            [angles(n, p, r) for n, p, (_, r) in zip(normals, planes, drawn, strict=True)]
        )
        rate = len(many) / cpu_seconds(detect, many, options.n_bands, options.repeats)
        print(
            f"{name}: {len(off) / len(images):.1f} bands a pattern, {(off < NEAR).mean():.1%} "
            f"within {NEAR:g} degree of a plane, those by {np.median(off[off < NEAR]):.2f} degrees "
            f"in the median; {rate:.0f} patterns per CPU second"
        )


if __name__ == "__main__":
    main()
