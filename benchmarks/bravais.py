# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bravais lattices of unknown phases: how often they are right, and how sure of it.

Run one of

- ``python benchmarks/bravais.py bands --crystals TABLE``: bands drawn with noise,
- ``images``: bands detected in two-beam images,
- ``masters --masters FILE``: bands detected in images from dynamical master patterns,
- ``nickel``: nine measured patterns, solved jointly,

with the table of ``scripts/collect_crystals.py`` and the file of ``scripts/simulate_masters.py``.
``--split even`` are the crystals to develop with, ``odd`` those to test with. With ``--bands-only``
superlattices are not looked for in the images themselves, as they are where images are several.
The answer "unknown" is none: it counts as wrong in accuracies, and not at all in the calibration.
Times are CPU milliseconds of the solution, without the detection.
"""

import argparse
import json
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from kikuchi_truth import (
    BEAM_ENERGY,
    OFFSET,
    PATTERN_CENTRE,
    BandNoise,
    Crystal,
    draw_bands,
    draw_images,
    from_master,
    parallel_planes,
    read_crystals,
    two_beam,
)
from telling_bands import telling_strength

from emsparse_hs.ebsd import Bands, Patterns, detect_bands
from emsparse_hs.ebsd.lattice import BRAVAIS_LATTICES, WIDTH_SCALE, solve_lattice

ANSWERS = (*BRAVAIS_LATTICES, "unknown")
#: How far the volume of a right cell may be off.
VOLUME_TOLERANCE = 0.15
#: Atoms of the largest primitive cell that is a small one.
SMALL = 6
#: A lattice whose telling bands are weaker, over the strongest band, hardly shows.
FAINT = 0.1
MIN_CONTRAST = 4.0
#: Edge of nickel's cubic cell in angstrom.
NICKEL = 3.5236

Observe = Callable[[Crystal, np.random.Generator], tuple[Bands, Patterns | None]]


@dataclass(frozen=True)
class Outcome:
    """What was answered for one crystal.

    Attributes
    ----------
    crystal : Crystal
    answer, best_lattice : str
        The most probable one, and the most probable that is not "unknown".
    probability : float
        Of the answer.
    volume_ratio : float
        Volume of the primitive cell over the true one.
    edge_error, shape_error : float
        Mean relative error of the primitive cell's edges, as they are and at the true volume.
    milliseconds : float
        CPU time.
    """

    crystal: Crystal
    answer: str
    best_lattice: str
    probability: float
    volume_ratio: float
    edge_error: float
    shape_error: float
    milliseconds: float

    @property
    def is_right(self) -> bool:
        """If the lattice is."""
        return self.answer == self.crystal.lattice

    @property
    def has_right_cell(self) -> bool:
        """If the lattice and the volume are."""
        return self.is_right and abs(self.volume_ratio - 1) <= VOLUME_TOLERANCE


def crc(crystal: Crystal) -> int:
    """Number that splits and draws depend on, and not on the table's order."""
    return zlib.crc32(crystal.name.encode())


def choose_crystals(crystals: list[Crystal], options) -> list[Crystal]:
    """Those of the split and size that are asked for, in the order of lattices."""
    wanted = [
        crystal
        for crystal in sorted(crystals, key=crc)
        if (options.split is None or ("even", "odd")[crc(crystal) % 2] == options.split)
        and (options.largest is None or crystal.n_primitive <= options.largest)
        and (crystal.is_real or not options.real_only)
    ]
    return [
        crystal
        for lattice in BRAVAIS_LATTICES
        for crystal in [c for c in wanted if c.lattice == lattice][: options.limit]
    ]


def reduced_edges(cell: np.ndarray) -> np.ndarray:
    """Lengths of the three shortest independent vectors of a lattice, (3,), the shortest first."""
    cell = cell.copy()
    steps = np.stack(np.meshgrid([0, -1, 1], [0, -1, 1], indexing="ij"), axis=-1).reshape(-1, 2)
    shorter = True
    while shorter:
        shorter = False
        for i in range(3):
            candidates = cell[i] + steps @ np.delete(cell, i, axis=0)
            lengths = np.linalg.norm(candidates, axis=1)
            if lengths.min() < (1 - 1e-9) * lengths[0]:
                cell[i], shorter = candidates[lengths.argmin()], True
    return np.sort(np.linalg.norm(cell, axis=1))


def answer(
    crystal: Crystal, bands: Bands, patterns: Patterns | None, width_scale: float
) -> Outcome:
    """Solve the bands of one phase, and compare."""
    start = time.process_time()
    solution = solve_lattice(
        bands, beam_energy=BEAM_ENERGY, width_scale=width_scale, patterns=patterns
    )
    milliseconds = 1e3 * (time.process_time() - start)
    probabilities, cell = np.asarray(solution.probabilities), np.asarray(solution.cell)
    true = crystal.primitive_cell
    ratio = error = shape_error = np.nan
    if np.isfinite(cell).all():
        ratio = abs(np.linalg.det(cell)) / abs(np.linalg.det(true))
        edges = reduced_edges(cell) / reduced_edges(true)
        error = np.abs(edges - 1).mean()
        shape_error = np.abs(edges / np.cbrt(ratio) - 1).mean()
    return Outcome(
        crystal=crystal,
        answer=ANSWERS[probabilities.argmax()],
        best_lattice=ANSWERS[probabilities[:-1].argmax()],
        probability=float(probabilities.max()),
        volume_ratio=ratio,
        edge_error=error,
        shape_error=shape_error,
        milliseconds=milliseconds,
    )


def detected(images: np.ndarray, options) -> tuple[Bands, Patterns | None]:
    """Bands of images that were made around the nominal pattern centre, or off it; the images."""
    centre = np.add(PATTERN_CENTRE, options.offset)
    bands = detect_bands(images, centre, options.n_bands, min_contrast=MIN_CONTRAST)
    return bands, None if options.bands_only else Patterns(images.__getitem__, centre)


def from_bands(options) -> tuple[list[Crystal], Observe]:
    """Bands drawn with noise."""
    usual = BandNoise()
    noise = replace(
        usual,
        **{
            name: options.errors * getattr(usual, name)
            for name in ("direction", "width", "centre", "spurious", "dropped")
        },
    )

    def observe(crystal, rng):
        planes = parallel_planes(crystal)
        return draw_bands(planes, options.patterns, options.n_bands, rng, noise), None

    return choose_crystals(read_crystals(options.crystals), options), observe


def from_images(options) -> tuple[list[Crystal], Observe]:
    """Bands detected in two-beam images."""

    def observe(crystal, rng):
        images = draw_images(two_beam(crystal), options.patterns, options.pixels, rng)
        return detected(images, options)

    return choose_crystals(read_crystals(options.crystals), options), observe


def from_masters(options) -> tuple[list[Crystal], Observe]:
    """Bands detected in images from dynamical master patterns."""
    with np.load(options.masters) as file:
        maps, manifest = file["maps"], json.loads(str(file["manifest"]))
    at = {(entry["name"], entry["lattice"]): i for i, entry in enumerate(manifest)}

    def observe(crystal, rng):
        intensity = from_master(maps[at[crystal.name, crystal.lattice]])
        return detected(draw_images(intensity, options.patterns, options.pixels, rng), options)

    crystals = [c for c in read_crystals(options.crystals) if (c.name, c.lattice) in at]
    return choose_crystals(crystals, options), observe


def measured_nickel(options) -> Outcome:
    """Nine measured patterns of 60 x 60 px, without their background, solved jointly."""
    import emsparse_hs as em

    signal = em.data.nickel_patterns()
    signal.remove_static_background(show_progressbar=False)
    patterns = signal.data.reshape(-1, *signal.data.shape[-2:])
    centres = signal.detector.pc.reshape(-1, 3)
    centres = centres if len(centres) == len(patterns) else centres[0]
    bands = detect_bands(patterns, centres, options.n_bands, min_contrast=MIN_CONTRAST)
    cell, no_atoms = NICKEL * np.eye(3), np.empty((0, 3))
    nickel = Crystal("Ni", "cF", cell, no_atoms, np.empty(0, int), 1, True)
    return answer(nickel, bands, Patterns(patterns.__getitem__, centres), WIDTH_SCALE)


def score(
    crystals: list[Crystal], observe: Observe, seed: int, width_scale: float
) -> list[Outcome]:
    """Answers for all crystals, each with random numbers of its own."""
    outcomes = []
    for crystal in crystals:
        which = BRAVAIS_LATTICES.index(crystal.lattice)
        seen = observe(crystal, np.random.default_rng([seed, crc(crystal), which]))
        if not outcomes:
            answer(crystal, *seen, width_scale)  # compiles
        outcomes.append(answer(crystal, *seen, width_scale))
    return outcomes


def calibration_error(right: np.ndarray, probabilities: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error of answers, in bins of equal width."""
    bins = np.minimum((probabilities * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, right - probabilities, n_bins)
    return float(np.abs(gaps).sum() / len(right))


def print_calibration(outcomes: list[Outcome], n_draws: int = 2000) -> None:
    """The calibration error of the answers that are not "unknown", and what is due to chance.

    Few answers in a bin are right more or less often than they should be even if their
    probabilities are perfect.
    """
    given = [outcome for outcome in outcomes if outcome.answer != "unknown"]
    if not given:
        return
    right = np.array([outcome.is_right for outcome in given], float)
    probabilities = np.array([outcome.probability for outcome in given])
    draws = np.random.default_rng(0).random((n_draws, len(given))) < probabilities
    by_chance = [calibration_error(draw, probabilities) for draw in draws]
    middle, most = np.percentile(by_chance, [50, 95])
    print(
        f"expected calibration error: {calibration_error(right, probabilities):.3f} "
        f"(of perfect probabilities: {middle:.3f}, in one of twenty draws over {most:.3f})"
    )


def accuracy_of_surest(outcomes: list[Outcome], coverage: float = 0.6) -> float:
    """Accuracy of the fraction with the highest probabilities; "unknown" comes last."""
    ranked = sorted(outcomes, key=lambda one: (one.answer == "unknown", -one.probability))
    return float(np.mean([one.is_right for one in ranked[: round(coverage * len(ranked))]]))


def print_accuracy(title: str, outcomes: list[Outcome], right: Callable[[Outcome], bool]) -> None:
    """Macro and micro accuracy, and that of each lattice with counts."""
    counts, hits = Counter(), Counter()
    for outcome in outcomes:
        counts[outcome.crystal.lattice] += 1
        hits[outcome.crystal.lattice] += right(outcome)
    if not counts:
        return
    macro = np.mean([hits[lattice] / counts[lattice] for lattice in counts])
    micro = hits.total() / counts.total()
    print(f"{title}: macro {macro:.3f}, micro {micro:.3f} of {counts.total()}")
    each = [f"{name} {hits[name]}/{counts[name]}" for name in BRAVAIS_LATTICES if counts[name]]
    print("   ", ", ".join(each))


def report(outcomes: list[Outcome]) -> None:
    """Print all figures."""
    small = [outcome for outcome in outcomes if outcome.crystal.n_primitive <= SMALL]
    print_accuracy("lattice", outcomes, lambda one: one.is_right)
    print_accuracy(f"lattice, up to {SMALL} atoms", small, lambda one: one.is_right)
    shown = [one for one in outcomes if telling_strength(one.crystal) > FAINT]
    print_accuracy(f"lattice, telling bands above {FAINT:.0%}", shown, lambda one: one.is_right)
    print_accuracy("lattice and volume", outcomes, lambda one: one.has_right_cell)
    forced = np.mean([one.best_lattice == one.crystal.lattice for one in outcomes])
    unknown = np.mean([one.answer == "unknown" for one in outcomes])
    print(f"unknown: {unknown:.3f}; lattice, had it to be named: micro {forced:.3f}")
    print_calibration(outcomes)
    surest, surest_shown = accuracy_of_surest(outcomes), accuracy_of_surest(shown)
    print(f"lattice, of the surest 60 %: {surest:.3f}, with such telling bands {surest_shown:.3f}")
    ratios = [outcome.volume_ratio for outcome in outcomes if outcome.is_right]
    if ratios:
        low, middle, high = np.nanpercentile(ratios, [25, 50, 75])
        print(f"volume where the lattice is right: {middle:.2f} (quartiles {low:.2f}, {high:.2f})")
    solved = [outcome for outcome in outcomes if outcome.has_right_cell]
    if solved:
        error = np.median([outcome.edge_error for outcome in solved])
        shape = np.median([outcome.shape_error for outcome in solved])
        print(f"edges of right cells: off by {error:.2%}, without the scale {shape:.2%} (median)")
    times = [outcome.milliseconds for outcome in outcomes]
    print(f"CPU time of a phase: mean {np.mean(times):.1f} ms, median {np.median(times):.1f} ms")


def print_wrong(outcomes: list[Outcome]) -> None:
    """List answers that are wrong in lattice or volume."""
    for one in outcomes:
        if not one.has_right_cell:
            print(
                f"  {one.crystal.name}, {one.crystal.n_primitive} atoms: {one.crystal.lattice}, "
                f"answer {one.answer} ({one.probability:.2f}), volume {one.volume_ratio:.2f}"
            )


def parse() -> argparse.Namespace:
    """Arguments of the command line."""
    bands = argparse.ArgumentParser(add_help=False)
    bands.add_argument("--n-bands", type=int, help="of a pattern: 30 drawn ones or 60 detected")
    common = argparse.ArgumentParser(add_help=False, parents=[bands])
    common.add_argument("--crystals", required=True, help="table of crystals, JSON")
    common.add_argument("--split", choices=("even", "odd"))
    common.add_argument("--patterns", type=int, default=1, help="of a phase, solved jointly")
    common.add_argument("--largest", type=int, help="atoms of a primitive cell")
    common.add_argument("--limit", type=int, help="crystals of a lattice")
    common.add_argument("--real-only", action="store_true", help="no random crystals")
    common.add_argument("--seed", type=int, default=0)
    common.add_argument("--verbose", action="store_true", help="list what is wrong")
    images = argparse.ArgumentParser(add_help=False, parents=[common])
    images.add_argument("--pixels", type=int, default=110, help="width of a pattern")
    images.add_argument("--offset", **OFFSET, help="error of pattern centres")
    images.add_argument(
        "--bands-only", action="store_true", help="don't look for superlattices in the images"
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = parser.add_subparsers(dest="source", required=True)
    drawn = sources.add_parser("bands", parents=[common])
    drawn.add_argument("--errors", type=float, default=1.0, help="over the usual ones")
    sources.add_parser("images", parents=[images])
    masters = sources.add_parser("masters", parents=[images])
    masters.add_argument("--masters", required=True, help="master patterns, npz")
    sources.add_parser("nickel", parents=[bands])
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.n_bands is None:
        options.n_bands = 30 if options.source == "bands" else 60
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if options.source == "nickel":
        one = measured_nickel(options)
        print(
            f"nickel: {one.answer} ({one.probability:.2f}), volume {one.volume_ratio:.2f}, edges "
            f"off by {one.edge_error:.2%}, without the scale {one.shape_error:.2%}"
        )
        return
    sources = {"bands": from_bands, "images": from_images, "masters": from_masters}
    crystals, observe = sources[options.source](options)
    # Edges of drawn and of two-beam bands are at the Bragg angle, those of dynamical ones inside.
    width_scale = WIDTH_SCALE if options.source == "masters" else 1.0
    outcomes = score(crystals, observe, options.seed, width_scale)
    report(outcomes)
    if options.verbose:
        print_wrong(outcomes)


if __name__ == "__main__":
    main()
