# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How well each method finds a disc at a known place, how honest its sigma is, and how fast.

Run it with ``python benchmarks/beam_accuracy.py``. Patterns are simulated: 64 x 64 px, a disc of
12 px radius with an edge of 0.7 px, shifted by up to 0.6 px. "field" is an even disc; "boundary"
has strong waves of intensity across it, as at the boundary of two phases. Radius and edge width are
estimated from the patterns. Seeds are from 100 on; the methods were developed on seed 1.
"""

import argparse
import time

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


def rotation(seeds, noises=(0.1, 0.3, 1.0)):
    print("\nscan rotation: RMS degrees, scatter over sigma, flip right")
    for shape in ((64, 80), (128, 128), (256, 256)):
        for noise in noises:
            errors, sigmas, right = [], [], 0
            for seed in seeds:
                random = np.random.default_rng(seed)
                angle, flip = random.uniform(-90, 90), bool(random.integers(2))
                # What the estimate must undo: turned back, then mirrored back.
                seen = rotate_vectors(atoms(shape, random), -angle)
                seen = seen * (1, -1) if flip else seen
                found = scan_rotation(seen + noise * random.normal(size=seen.shape))
                errors.append((found.angle - angle + 180) % 360 - 180)
                sigmas.append(found.sigma)
                right += found.flip == flip
            ratio = rms(np.array(errors) / sigmas)
            print(
                f"  {shape}, noise {noise:.1f} of the field: {rms(errors):.3f}{ratio:6.2f}"
                f"   {right} of {len(seeds)}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--n-seeds", type=int, default=4)
    options = parser.parse_args()
    accuracy(range(options.first_seed, options.first_seed + options.n_seeds))
    rotation(range(options.first_seed, options.first_seed + 20))


if __name__ == "__main__":
    main()
