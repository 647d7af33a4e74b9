"""The pointing game of tests/benchmarks/pointing.py, on one network and few scenes."""

import pytest
import torch
from benchmarks.pointing import Patches, _rows, play, shown, word_at
from reference.scenes import COLOURS, SHAPES, SIDE, VOCABULARY, Scenes, trained


def test_a_patch_lies_inside_where_its_centre_does() -> None:
    scenes = Scenes.draw(16, 0)
    patches = Patches.of(scenes)
    inside = patches.inside(torch.tensor([[0, 0, SIDE, SIDE], [0, 0, 3, 3], [-1, -1, -1, -1], [0, 3, SIDE, 8]]))
    assert inside.shape == (4, 49)
    assert inside[0].all()
    assert inside[1].nonzero()[:, 0].tolist() == [0]  # 4 or 5 pixels a side
    assert not inside[2].any()
    assert inside[3].nonzero()[:, 0].tolist() == list(range(7, 14))


def test_words_are_found_where_they_stand() -> None:
    scenes = Scenes.draw(50, 0)
    for names in (COLOURS, SHAPES):
        places = word_at(scenes, names)
        assert all(VOCABULARY[scenes.words[k, place]] in names for k, place in enumerate(places.tolist()))
    maps = {k: torch.arange(7)[:, None] + torch.zeros(7, 49) for k in range(50)}
    assert _rows(maps, places)[:, 0].tolist() == places.tolist()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_strongest_patch_of_a_word_lies_on_its_object() -> None:
    model = trained()
    found = play(model, shown(model, 96))
    assert found["chance"][0] < 0.15
    assert min(found["cross-modal, difference, corners=1"]) >= 0.9
    # Without the other words, "triangle" acts with every triangle of the scene: its strongest patch may lie on another.
    colour, shape = found["cross-modal, difference"]
    assert colour >= 0.97
    assert shape >= 0.85
    assert min(found["cross-modal, second_order"]) >= 0.8
