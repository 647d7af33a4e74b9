"""What recombinations cost with encodings reused, against plain forwards and against what else there is.

    python tests/benchmarks/reuse.py [--repeats 7]

Prints medians of ratios of times that were taken in turn, in one process. Models have random weights and the sizes of
small real ones.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from timing import Action, paired, ratio
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, LxmertConfig, LxmertForQuestionAnswering

from mviz_lightning import explain
from mviz_lightning.batch import BatchSchema, Probe, Segments, parse_modalities
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.derivative import derive
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Derivative, Query
from mviz_lightning.explainers import DIME
from mviz_lightning.functional import design
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

N = 64
"""Examples of a grid."""

CHUNK = 256
SINGLE = 256
"""Rows that are timed one by one; the rest would take as long each."""

CLASSES = 10
LENGTH, WORDS = 12, 400


class CNNLSTM(nn.Module):
    """A CNN and an LSTM, joined late."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.image = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.words = nn.Embedding(WORDS, 32)
        self.text = nn.LSTM(32, 64, batch_first=True)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def encode(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self.image(image), self.text(self.words(text))[1][0][-1]

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.cat(self.encode(image, text), 1))
        return outputs


class CrossAttention(nn.Module):
    """Two encoders of two layers, and a layer in which the words look at the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.words = nn.Conv2d(3, 64, 8, stride=8), nn.Embedding(WORDS, 64)
        self.image, self.text = (
            nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2) for _ in range(2)
        )
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        patches, words = self.image(self.patches(image).flatten(2).mT), self.text(self.words(text))
        outputs: Tensor = self.head(self.attention(words, patches, patches, need_weights=False)[0].mean(1))
        return outputs


class CLIPHead(nn.Module):
    """A head over both embeddings of CLIP."""

    def __init__(self) -> None:
        super().__init__()
        layers = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
        text = {**layers, "vocab_size": WORDS, "max_position_embeddings": LENGTH, "eos_token_id": WORDS - 1}
        vision = {**layers, "image_size": 32, "patch_size": 8}
        self.clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
        self.head = nn.Bilinear(64, 64, CLASSES)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        found = self.clip(pixel_values=image, input_ids=text)
        outputs: Tensor = self.head(found.text_embeds, found.image_embeds)
        return outputs


class Lxmert(nn.Module):
    """LXMERT's nine layers of words, five of regions and five of both, made small."""

    def __init__(self) -> None:
        super().__init__()
        config = LxmertConfig(
            vocab_size=WORDS, hidden_size=64, num_attention_heads=4, intermediate_size=128, num_qa_labels=CLASSES,
            l_layers=9, x_layers=5, r_layers=5, visual_feat_dim=64, max_position_embeddings=LENGTH,
        )  # fmt: skip
        self.lxmert = LxmertForQuestionAnswering(config)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        boxes = image[..., :4].sigmoid()
        found = self.lxmert(input_ids=text, visual_feats=image, visual_pos=boxes)
        outputs: Tensor = found.question_answering_score
        return outputs


@dataclass(frozen=True)
class Bench:
    """A model, its examples and its evaluators."""

    module: nn.Module
    probe: Probe

    @classmethod
    def of(cls, make: Callable[[], nn.Module], image: tuple[int, ...], count: int = N) -> "Bench":
        """Make a model and random examples."""
        torch.manual_seed(0)
        module = make().eval()
        batch = {"image": torch.randn(count, *image), "text": torch.randint(1, WORDS - 1, (count, LENGTH))}
        schema = BatchSchema.learn(batch, parse_modalities(["image", "text"]))
        return cls(module, Probe(schema, schema.leaves(batch), torch.arange(count).view(-1, 16)))

    def evaluator(self, *, reuse: bool, chunk: int = CHUNK) -> Evaluator:
        """Return an evaluator that has been used, so that what it finds out once is known."""
        first = Query.aligned(torch.arange(8), 2)
        call = choose_call(self.module, self.probe.schema, self.probe.batch(first.sources, {}), None)
        made = Evaluator(self.module, call.predict, chunk, reuse=reuse)
        made(self.probe, [Query(torch.cartesian_prod(torch.arange(8), torch.arange(8)))])
        return made


GRID = Query(torch.cartesian_prod(torch.arange(N), torch.arange(N)))


@torch.no_grad()
def by_hand(bench: Bench) -> Tensor:
    """Encode N images and N texts and run the head on every pair: the limit of what reuse can reach."""
    module, leaves = bench.module, bench.probe.leaves
    image, text = module.encode(leaves["image"], leaves["text"])  # type: ignore[operator]
    rows, columns = GRID.sources.T
    return torch.cat(
        [
            module.head(torch.cat([image[rows[part]], text[columns[part]]], 1))  # type: ignore[operator]
            for part in torch.arange(len(rows)).split(4 * CHUNK)
        ]
    )


def grids(repeats: int) -> None:
    """Print the times of a 64 x 64 grid."""
    models: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
        "late-fusion CNN + LSTM": (CNNLSTM, (3, 32, 32)),
        "cross-attention, separate encoders": (CrossAttention, (3, 32, 32)),
        "CLIP + head": (CLIPHead, (3, 32, 32)),
        "LXMERT": (Lxmert, (12, 64)),
    }
    for name, (make, shape) in models.items():
        one_grid(name, Bench.of(make, shape), repeats)


def one_grid(name: str, bench: Bench, repeats: int) -> None:
    """Print the times of one model's grid."""
    reusing, plain = bench.evaluator(reuse=True), bench.evaluator(reuse=False)
    actions: list[Action] = [lambda: reusing(bench.probe, [GRID]), lambda: plain(bench.probe, [GRID])]
    by_hand_too = isinstance(bench.module, CNNLSTM)
    times = paired([*actions, *([lambda: by_hand(bench)] if by_hand_too else [])], repeats)
    print(f"{name}: reused / plain {ratio(times[0], times[1])}", "" if reusing.reuse else "GIVEN UP")
    if by_hand_too:
        print(f"{name}: reused / by hand {ratio(times[0], times[2])}")
        single = bench.evaluator(reuse=False, chunk=2)
        rows = [Query(GRID.sources[[row]]) for row in range(0, len(GRID), len(GRID) // SINGLE)]
        alone = min(paired([lambda: [single(bench.probe, [row]) for row in rows]], 2)[0]) / len(rows) * len(GRID)
        print(f"{name}: one pair at a time / reused {alone / statistics.median(times[0]):.0f}")


def case(*, reuse: bool, explainer: DIME) -> Session:
    """Return a session of the CNN and LSTM at 48 x 48 pixels, at the defaults, after a first run."""
    bench = Bench.of(CNNLSTM, (3, 48, 48), 128)
    settings = {"task": "multiclass", "explainers": (explainer,), "reuse": reuse}
    session = Session(SessionConfig(parse_modalities(["image", "text"]), **settings))  # type: ignore[arg-type]
    session.collect(dict(bench.probe.leaves), range)
    session.dry_run(bench.module)
    session.complete()
    session.run()
    session.explain(explainer)
    return session


def whole_run(repeats: int) -> None:
    """Print the time of a run at the defaults against the plain forwards of its rows alone."""
    session = case(reuse=True, explainer=DIME(num_examples=1))
    assert session.probe is not None
    probe, plain = session.probe, Bench.of(CNNLSTM, (3, 48, 48), 128).evaluator(reuse=False, chunk=128)
    rows = Query(probe.groups[:, design(2, 16).tuples].flatten(0, 1))
    times = paired([session.run, lambda: plain(probe, [rows])], repeats)
    print(f"shares at the defaults / plain forwards of their rows {ratio(*times)}")


def one_explanation(repeats: int) -> None:
    """Print the time of DIME of one example against the papers' procedure, batched, and one row at a time."""
    ours, theirs = DIME(num_examples=1), DIME(num_examples=1, donors=100, masks=100)
    reusing, plain = case(reuse=True, explainer=ours), case(reuse=False, explainer=theirs)
    times = paired([lambda: reusing.explain(ours), lambda: plain.explain(theirs)], repeats)
    rows = plain.explain(theirs).rows
    print(f"DIME of one example: the papers' {rows:,} rows batched / ours {ratio(times[1], times[0])}")
    bench = Bench.of(CNNLSTM, (3, 48, 48), 128)
    single, some = bench.evaluator(reuse=False, chunk=2), [Query(torch.tensor([[i, i + 1]])) for i in range(100)]
    alone = min(paired([lambda: [single(bench.probe, [row]) for row in some]], 2)[0]) / len(some) * rows
    print(f"DIME of one example: one row at a time / ours {alone / statistics.median(times[0]):.0f}")


def gradients(repeats: int) -> None:
    """Print the time of integrated gradients of 8 examples' texts, 32 steps each, against plain forwards."""
    bench = Bench.of(CNNLSTM, (3, 48, 48))
    probe = replace(bench.probe, segments={"text": Segments("text", torch.arange(LENGTH).unsqueeze(0), 0)})
    asked = Derivative(Query.aligned(torch.arange(8), 2), torch.zeros(8, dtype=torch.long), "text", steps=32)
    reusing, plain = (bench.evaluator(reuse=reuse, chunk=128) for reuse in (True, False))
    times = paired([lambda: derive(reusing, probe, asked), lambda: derive(plain, probe, asked)], repeats)
    print(f"integrated gradients of 8 texts: images encoded once / at every step {ratio(*times)}")


def linear() -> None:
    """Print how rows grow with the modalities."""
    for count in (2, 3, 4, 6):
        batch = tuple(torch.randn(128, 4) for _ in range(count))
        names = {f"m{number}": str(number) for number in range(count)}
        group = max(16, 4 * count)
        found = explain(
            _Sum(), [batch], modalities=names, task="regression", group_size=group, num_examples=128, pairs=False
        )
        print(f"{count} modalities: {found.rows} rows, {found.rows / count:.0f} a modality, groups of {group}")


class _Sum(nn.Module):
    def forward(self, *modalities: Tensor) -> Tensor:
        return torch.stack([values.tanh().sum(1) for values in modalities]).sum(0).unsqueeze(1)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    grids(repeats)
    whole_run(repeats)
    one_explanation(max(2, repeats // 2))
    gradients(repeats)
    linear()


if __name__ == "__main__":
    main()
