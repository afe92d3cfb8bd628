# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Trust in answers: what raises it and what lowers it."""

import pytest

from emsparse_hs.ebsd.trust import trust, trust_features

USUAL = dict(
    evidence=5.0, probability=0.9, explained=0.9, n_orientations=4, n_superlattices=1, n_bands=30
)


@pytest.mark.parametrize(
    ("name", "value", "sign"),
    [
        ("evidence", 6.0, 1),
        ("probability", 0.95, 1),
        ("explained", 0.95, 1),
        ("n_orientations", 8, 1),
        ("n_superlattices", 2, -1),
        ("n_bands", 20, -1),
    ],
)
def test_trust_goes_with_what_an_answer_says_of_itself(name, value, sign):
    usual, changed = (trust(trust_features(**said)) for said in (USUAL, USUAL | {name: value}))
    assert 0 < usual < 1 and 0 < changed < 1
    assert (changed - usual) * sign > 0


def test_certain_probabilities_are_no_certainty():
    one, other = (trust(trust_features(**USUAL | {"probability": p})) for p in (0.999, 1.0))
    assert one == other < 1
