"""Whatever a run holds, its page opens, can be used from end to end, and does nothing that a page must not do."""

import pytest
from helpers.browsers import violations
from helpers.exercised import exercise, odd_elements
from helpers.stored_inputs import KINDS
from helpers.stored_runs import HOSTILE
from helpers.stored_stages import EXPLAINERS

STRANGE = {
    "hostile texts": {"hostile": True, "alarm": (1, 2), "explainers": list(EXPLAINERS)},
    "names of JavaScript's own": {"modalities": {"__proto__": "text", "constructor": "image", "toString": "tabular"}},
    "all kinds": {"modalities": {kind: kind for kind in KINDS}, "explainers": list(EXPLAINERS)},
    "one modality": {"modalities": {"sound": "lines"}},
    "thirty modalities": {"modalities": {f"sensor {n}": list(KINDS)[n % 8] for n in range(30)}},
    "no inputs": {"show_inputs": False, "explainers": list(EXPLAINERS)},
    "no explanations": {"explainers": [], "examples": 0},
    "no values": {"epochs": 0, "outside": False, "explainers": [], "examples": 0},
    "one check": {"epochs": 1, "outside": False},
    "failed checks": {"failed": [0, 2]},
    "heads": {"further_heads": ["verb", "noun/of a verb"]},
    "long names": {
        "modalities": {"m" * 300: "image", "word " * 60: "text"},
        "class_names": ["c" * 300, "long " * 50] * 2,
    },
}
"""What is unlike a plain run, and how it is written."""

SMALL = {"epochs": 4, "examples": 4}


TELEPHONE = {"width": 360, "height": 740}
NO_WORDS = ("undefined", "NaN", "[object", "Infinity")
"""What a page shows where its script went wrong."""


@pytest.mark.slow
@pytest.mark.parametrize("which", [pytest.param(name, id=name) for name in STRANGE])
def test_a_page_can_be_used_from_end_to_end_on_a_small_telephone(look, page_of, which):
    page = look(page_of(**SMALL | STRANGE[which]), viewport=TELEPHONE)
    assert exercise(page) > 0
    assert odd_elements(page) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    said = page.evaluate("document.body.innerText")
    assert not any(word in said for word in NO_WORDS)


@pytest.mark.slow
@pytest.mark.parametrize("which", [pytest.param(name, id=name) for name in STRANGE])
def test_a_page_can_be_used_from_end_to_end_on_a_wide_window(look, page_of, which):
    page = look(page_of(**SMALL | STRANGE[which]), viewport={"width": 1600, "height": 900})
    assert exercise(page) > 0
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 1600


def test_hostile_texts_are_shown_as_they_are(look, page_of):
    page = look(page_of(**SMALL | STRANGE["hostile texts"]))
    exercise(page, rounds=1)
    shows = "(texts) => texts.filter((text) => !document.body.textContent.includes(text))"
    assert page.evaluate(shows, list(HOSTILE[:5])) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 1200),
        ("dark", 360),
        pytest.param("light", 360, marks=pytest.mark.slow),
        pytest.param("dark", 1200, marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(look, page_of, axe, scheme, width):
    options = {"alarm": (1, 2), "explainers": list(EXPLAINERS)}
    page = look(page_of(**SMALL | options), color_scheme=scheme, viewport={"width": width, "height": 900})
    assert violations(page, axe) == []
    exercise(page, rounds=1)
    assert violations(page, axe) == []
