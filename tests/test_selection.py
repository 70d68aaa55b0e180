"""Which configurations are labelled next."""

import numpy as np

from defectphonons import structures
from helpers.data import selection
from helpers.models import potential


def test_the_most_unlike_come_first_and_their_likes_not_again():
    known = [{"W": np.array([[0.0, 0.0]])}]
    pool = [{"W": np.array([[x, 0.0]])} for x in (0.1, 5.0, 5.1, -3.0)]
    assert selection.farthest(pool, known, 3) == [2, 3, 0]  # 5.0 lies beside 5.1
    assert sorted(selection.farthest(pool, known, 9)) == [0, 1, 2, 3]


def test_a_species_that_was_never_seen_comes_first():
    known = [{"W": np.zeros((1, 2))}]
    pool = [{"W": np.full((1, 2), 9.0)}, {"W": np.zeros((1, 2)), "O": np.zeros((1, 2))}]
    assert selection.farthest(pool, known, 2) == [1, 0]


def test_a_rattled_cell_is_less_like_the_sheet_than_a_turned_one():
    mace = potential.load("wse2-small", elements=("W", "Se"))
    sheet = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 2)
    turned, rattled = sheet.copy(), sheet.copy()
    turned.rotate(30, "z", rotate_cell=True)
    rattled.rattle(0.05, seed=1)
    known, *pool = selection.environments(mace, [sheet, turned, rattled])
    assert known["W"].shape[0] == 4 and known["Se"].shape[0] == 8
    assert abs(pool[0]["W"] - known["W"]).max() < 1e-6 < 1e-3 < abs(pool[1]["W"] - known["W"]).max()
    assert selection.farthest(pool, [known], 1) == [1]
