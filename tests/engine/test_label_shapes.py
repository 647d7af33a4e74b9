"""Where outputs have positions if only the shape of their labels tells."""

import pytest

from mviz_lightning.engine.positions import LabelShapes, PositionAxes

B = 5
SHAPES = {
    "maps": ((B, 3, 4, 6), (B, 4, 6), PositionAxes(1)),
    "maps with a channel of labels": ((B, 3, 4, 6), (B, 1, 4, 6), PositionAxes(1)),
    "channels last": ((B, 4, 6, 3), (B, 4, 6), PositionAxes(3)),
    "maps as wide as there are classes": ((B, 4, 4, 4), (B, 4, 4), PositionAxes(1)),
    "one map": ((B, 1, 4, 6), (B, 4, 6), PositionAxes(1)),
    "labels of several kinds": ((B, 3, 4, 6), (B, 3, 4, 6), PositionAxes(1)),
    "volumes": ((B, 3, 2, 4, 6), (B, 2, 4, 6), PositionAxes(1)),
    "tokens": ((B, 7, 3), (B, 7), PositionAxes(2)),
    "tokens, classes first": ((B, 3, 7), (B, 7), PositionAxes(1)),
    "as many tokens as classes": ((B, 7, 7), (B, 7), PositionAxes(2)),
    "values of each step": ((B, 7, 3), (B, 7, 3), PositionAxes(2)),
    "a map without a channel": ((B, 8, 9), (B, 8, 9), PositionAxes(None)),
    "outputs as long as the mask of padding": ((B, 7), (B, 7), PositionAxes(None)),
    "one output an example": ((B,), (B,), None),
    "several outputs of an example": ((B, 6), (B, 6), None),
    "another resolution": ((B, 3, 4, 6), (B, 8, 12), None),
    "one label an example": ((B, 7, 3), (B,), None),
    "another number of examples": ((B, 7, 3), (B + 1, 7), None),
}


@pytest.mark.parametrize(("outputs", "labels", "axes"), SHAPES.values(), ids=SHAPES)
def test_the_axis_of_the_classes_is_the_one_that_labels_lack(
    outputs: tuple[int, ...], labels: tuple[int, ...], axes: PositionAxes | None
) -> None:
    shapes = LabelShapes(labels, images=[(B, 3, 8, 9)], masks=[(B, 7)])
    assert shapes.axes(outputs) == axes


def test_outputs_without_labels_have_no_positions() -> None:
    assert LabelShapes().axes((B, 3, 4, 6)) is None
