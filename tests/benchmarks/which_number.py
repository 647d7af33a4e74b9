"""Five models with known use of an image and a text, and what each number shows of them: the table of the guide.

python tests/benchmarks/which_number.py

Each model has two logits, ``(-s, s)``, for an image a and a text b of one number each. Ten seconds on a core.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mviz_lightning import explain

EXAMPLES, RARE = 512, 1.88
"""Validation examples; and the value that a unit normal exceeds in 3 % of the examples."""

KEYS = (
    "total/image", "contribution/image", "interaction", "flips/image", "perceptual/image", "emap_gap",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model, as the logit s of class 1, and whether the text is a copy of the image."""

    name: str
    logit: Callable[[Tensor, Tensor], Tensor]
    copied: bool = False


CASES = [
    Case("XOR of the signs", lambda a, b: 3 * a.sign() * b.sign()),
    Case("the image changes the confidence, never the decision", lambda a, b: b.sign() * (4 + 3 * a.tanh())),
    Case("the image decides 3 % of the examples", lambda a, b: torch.where(a > RARE, -3.0, 3.0) * b.sign()),
    Case("image and text are copies, the model adds both", lambda a, b: 3 * a + 3 * b, copied=True),
    Case("image and text are copies, the model reads the text", lambda a, b: 6 * b + 0 * a, copied=True),
]


class Logits(nn.Module):
    """Two logits of a case."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        logit = self.case.logit(image, text)
        return torch.cat([-logit, logit], 1)


def measured(case: Case) -> dict[str, float]:
    """Return what ``explain`` measures of a case, of labels that the model gets right."""
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, EXAMPLES, 1, generator=generator)
    text = image.clone() if case.copied else text
    model = Logits(case)
    batch = {"image": image, "text": text, "label": model(image, text).argmax(1)}
    report = explain(
        model,
        [batch],
        modalities={"image": "image", "text": "text"},
        target="label",
        task="multiclass",
        predict=lambda module, batch: module(batch["image"], batch["text"]),
    )
    return dict(report.values)


def main() -> None:
    """Print a row for each case."""
    print("| model |", " | ".join(f"`{key}`" for key in KEYS), "|")
    print("|---|" + "---|" * len(KEYS))
    for case in CASES:
        values = measured(case)
        print(f"| {case.name} |", " | ".join(f"{round(values[key], 2) + 0:.2f}" for key in KEYS), "|")


if __name__ == "__main__":
    main()
