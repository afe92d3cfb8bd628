# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How well each method finds a disc at a known place, how honest its sigma is, and how fast.

Run it with ``python benchmarks/beam_accuracy.py``. Patterns are simulated: 64 x 64 px, a disc of
12 px radius with an edge of 0.7 px, shifted by up to 0.6 px. "field" is an even disc; "boundary"
has strong waves of intensity across it, as at the boundary of two phases. Radius and edge width are
estimated from the patterns. Seeds are from 100 on; the methods were developed on seeds 1 to 3.

The scan rotation is found from patterns of 32 x 32 px and 3000 counted electrons, of a disc that is
deflected by atoms at random places, with a root mean square of 3 % of its radius.
"""

import argparse
import os
import time

# Idle threads of OpenBLAS would count as CPU time.
os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}

import numpy as np
from scipy.special import erfc

from emsparse_hs.stem4d import (
    centroid,
    estimate_disc,
    fit_disc,
    match_edge,
    match_template,
    rotate_vectors,
    scan_rotation,
)

SIZE, RADIUS, WIDTH, SPREAD = 64, 12.0, 0.7, 0.6


def patterns(kind, dose, seed, n=256):
    """Counts, and true places (x, y) in px."""
    random = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE)) - SIZE / 2
    shifts = random.uniform(-SPREAD, SPREAD, (n, 2))
    frames = np.empty((n, SIZE, SIZE), np.uint32)
    for frame, (dx, dy) in zip(frames, shifts, strict=True):
        distance = np.hypot(x - dx, y - dy)
        disc = 0.5 * erfc((distance - RADIUS) / (np.sqrt(2) * WIDTH))
        if kind == "boundary":
            one, other, phase = random.uniform(0, 2 * np.pi, 3)
            u = (x * np.cos(one) + y * np.sin(one)) / RADIUS
            v = (x * np.cos(other) + y * np.sin(other)) / RADIUS
            waves = 0.35 * u + 0.3 * np.sin(3 * u + phase) + 0.2 * np.cos(5 * v)
            disc *= np.clip(1 + waves, 0.05, None)
        frame[:] = random.poisson(dose * disc / disc.sum())
    return frames, shifts + SIZE / 2


def methods():
    y, x = np.indices((SIZE, SIZE)) - SIZE / 2
    vacuum = 0.5 * erfc((np.hypot(x, y) - RADIUS) / (np.sqrt(2) * WIDTH))
    yield "centroid", lambda frames, _: centroid(frames, return_sigma=True)
    yield "disc", fit_disc
    yield "template", lambda frames, _: match_template(frames, vacuum)
    yield "edge", lambda frames, _: match_edge(frames, vacuum)


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def accuracy(seeds):
    print(f"seeds {seeds[0]} to {seeds[-1]}; RMS px (worst seed), scatter over sigma, fits a CPU s")
    for kind in ("field", "boundary"):
        for dose in (300, 3_000, 30_000, 1_000_000):
            scans = [patterns(kind, dose, seed) for seed in seeds]
            models = [estimate_disc(frames[:96]) for frames, _ in scans]
            for name, method in methods():
                method(scans[0][0][:2], models[0])
                start = time.process_time()
                found = [
                    method(frames, model) for (frames, _), model in zip(scans, models, strict=True)
                ]
                rate = sum(len(frames) for frames, _ in scans) / (time.process_time() - start)
                errors = [one - places for (one, _), (_, places) in zip(found, scans, strict=True)]
                ratios = [error / one[1] for error, one in zip(errors, found, strict=True)]
                worst = max(rms(error) for error in errors)
                print(f"  {kind:9}{dose:9,} {name:9}{rms(errors):8.4f} ({worst:.4f})", end="")
                print(f"{rms(ratios):8.2f}{rate:12,.0f}")


def atoms(shape, random):
    """Deflection by Gaussian atoms at random places, of unit root mean square."""
    ky, kx = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    potential = np.zeros(shape)
    np.add.at(potential, tuple(random.integers(0, n, shape[0] * shape[1] // 60) for n in shape), 1)
    spectrum = np.fft.fft2(potential) * np.exp(-2 * (np.pi * 2.5) ** 2 * (kx**2 + ky**2))
    # Electrons go up the potential.
    field = np.stack([np.fft.ifft2(2j * np.pi * k * spectrum).real for k in (kx, ky)], axis=-1)
    return field / rms(field)


def counted(field, dose, random, size=32, radius=6.0):
    """Counted electrons of a disc that is deflected in px from the middle, line after line."""
    x = np.arange(size) - (size - 1) / 2
    for places in field:
        across, down = (x - places[:, i, None] for i in (0, 1))
        distance = np.hypot(across[:, None, :], down[:, :, None])
        discs = 0.5 * erfc((distance - radius) / (np.sqrt(2) * WIDTH))
        electrons = dose * discs / discs.sum((1, 2), keepdims=True)
        yield random.poisson(electrons).astype("u2")


def rotation(seeds, dose=3000, strength=0.03, radius=6.0):
    print(f"\nscan rotation at {dose} electrons a pattern")
    print("  scan        method      RMS degrees   scatter over sigma   flip right")
    for shape in ((64, 80), (128, 128), (256, 256)):
        results = {"centroid": [], "disc": []}
        for seed in seeds:
            random = np.random.default_rng(seed)
            angle, flip = random.uniform(-90, 90), bool(random.integers(2))
            # What the estimate must undo: turned back, then mirrored back.
            seen = rotate_vectors(strength * radius * atoms(shape, random), -angle)
            seen = seen * (1, -1) if flip else seen
            patterns = np.stack(list(counted(seen, dose, random, radius=radius)))
            model = estimate_disc(patterns[:: shape[0] // 8, :: shape[1] // 10])
            places = {"centroid": centroid(patterns), "disc": fit_disc(patterns, model)[0]}
            for name, deflection in places.items():
                found = scan_rotation(deflection)
                error = (found.angle - angle + 180) % 360 - 180
                results[name].append((error, error / found.sigma, found.flip == flip))
        for name, rows in results.items():
            errors, ratios, right = np.transpose(rows)
            print(f"  {shape!s:12}{name:12}{rms(errors):.3f}{rms(ratios):20.2f}", end="")
            print(f"{int(right.sum()):15} of {len(seeds)}", flush=True)


SECTIONS = ("accuracy", "rotation")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--n-seeds", type=int, default=4)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    first = options.first_seed
    if "accuracy" in options.sections:
        accuracy(range(first, first + options.n_seeds))
    if "rotation" in options.sections:
        rotation(range(first, first + 20))


if __name__ == "__main__":
    main()
