"""Train a small vision-language model on questions about drawn scenes, and watch whether it looks at them.

Each scene shows a circle, a square and a triangle in three colours. A question asks about one of them: "what colour is
the circle ?", "which shape is red ?". The model is a LLaVA of transformers (a vision tower, a projector and a causal
language model), made from a configuration with 140,000 weights and trained from scratch. The monitor finds the
placeholder tokens of the image, the answer and its scores by itself; it shows how much of the answers image and text
explain, and which patches and words raise an answer.

The second training has a bug that raises no error: each question comes with the image of another scene. Its loss falls
too, since the question alone tells whether a colour or a shape is asked for. The alarm says that the image is not used.

    python examples/visual_questions.py

Scenes, tokenizer and weights are made in this file with a seed: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import logging
import random
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageDraw
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME, CrossModalInteraction, UnimodalImportance

SIZE, PATCH = 32, 8  # pixels along a side of an image, and of a patch that becomes one token
TOKENS = (SIZE // PATCH) ** 2  # of an image
COLOURS = {"red": "#d7322f", "green": "#2aa043", "blue": "#2864dc", "yellow": "#efc81e"}
SHAPES = ["circle", "square", "triangle"]
PLACES = [(8, 8), (24, 8), (8, 24), (24, 24)]  # centres of the quarters of an image
BACKGROUND = (128, 128, 128)
ASKED_COLOUR = ["what colour is the {} ?", "which colour has the {} ?"]
ASKED_SHAPE = ["what shape is {} ?", "which shape has the colour {} ?"]
WORDS = ["what", "which", "colour", "shape", "is", "has", "the", "?", *SHAPES, *COLOURS]
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL.values(), "<image>", *WORDS])}
MEAN, STD = [0.5] * 3, [0.25] * 3  # of the pixels

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

Batch = dict[str, Tensor]


class VisualQuestion(NamedTuple):
    """A scene, a question about it, and the answer."""

    image: Image.Image
    question: str
    answer: str


def ask(generator: random.Random) -> VisualQuestion:
    """Draw a scene of three shapes in different colours, and ask for the colour of one or the shape of one."""
    colours = dict(zip(SHAPES, generator.sample(list(COLOURS), 3), strict=True))
    image = Image.new("RGB", (SIZE, SIZE), BACKGROUND)
    for (shape, colour), (x, y) in zip(colours.items(), generator.sample(PLACES, 3), strict=True):
        draw(image, shape, colour, x + generator.randint(-1, 1), y + generator.randint(-1, 1))
    shape, colour = generator.choice(list(colours.items()))
    if generator.random() < 0.5:
        return VisualQuestion(image, generator.choice(ASKED_COLOUR).format(shape), colour)
    return VisualQuestion(image, generator.choice(ASKED_SHAPE).format(colour), shape)


def draw(image: Image.Image, shape: str, colour: str, x: int, y: int, reach: int = 6) -> None:
    """Draw a shape around a centre."""
    canvas, fill, box = ImageDraw.Draw(image), COLOURS[colour], (x - reach, y - reach, x + reach, y + reach)
    if shape == "circle":
        canvas.ellipse(box, fill=fill)
    elif shape == "square":
        canvas.rectangle(box, fill=fill)
    else:
        canvas.polygon([(x, y - reach), (x - reach, y + reach), (x + reach, y + reach)], fill=fill)


def draw_questions(count: int, seed: int, *, shuffle_images: bool = False) -> list[VisualQuestion]:
    """Draw scenes and ask one question about each; `shuffle_images` deals the images to the questions at random."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    questions = [ask(generator) for _ in range(count)]
    if not shuffle_images:
        return questions
    images = generator.sample([question.image for question in questions], count)
    return [question._replace(image=image) for question, image in zip(questions, images, strict=True)]


def make_processor() -> LlavaProcessor:
    """Make a processor as a pretrained model has one: it scales images and repeats "<image>" for each of its tokens."""
    words = Tokenizer(WordLevel(VOCABULARY))
    words.pre_tokenizer = WhitespaceSplit()
    words.add_special_tokens(["<image>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, padding_side="left", **SPECIAL)
    images = CLIPImageProcessor(do_resize=False, do_center_crop=False, image_mean=MEAN, image_std=STD)
    return LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def make_model(width: int = 64) -> LlavaForConditionalGeneration:
    """Make a LLaVA with random weights: one layer of vision, two of language."""
    sizes = {
        "hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 4,
        "initializer_range": 0.1,  # the usual 0.02 is of much wider models
    }  # fmt: skip
    vision = CLIPVisionConfig(num_hidden_layers=1, image_size=SIZE, patch_size=PATCH, **sizes)
    text = LlamaConfig(vocab_size=len(VOCABULARY), num_hidden_layers=2, num_key_value_heads=4, pad_token_id=0, **sizes)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=VOCABULARY["<image>"],
        image_seq_length=TOKENS,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config)


class VisualQuestions(LightningDataModule):
    """Questions for training and validation, turned into batches by the processor."""

    def __init__(self, processor: LlavaProcessor, *, shuffle_images: bool = False) -> None:
        """Draw 3,072 questions for training and 512 for validation, of which training may have the wrong images."""
        super().__init__()
        self.processor = processor
        self._training = draw_questions(3072, seed=1, shuffle_images=shuffle_images)
        self._validation = draw_questions(512, seed=2)

    def collate(self, questions: list[VisualQuestion]) -> Batch:
        """Return pixels ``(B, 3, H, W)``, tokens and attention mask ``(B, T)``, and labels: -100 but at the answer."""
        texts = [f"<image> {question.question} {question.answer}" for question in questions]
        images = [question.image for question in questions]
        batch = dict(self.processor(images=images, text=texts, padding=True, return_tensors="pt"))
        labels = torch.full_like(batch["input_ids"], -100)
        labels[:, -1] = batch["input_ids"][:, -1]  # an answer is one word, and padding stands in front
        return {**batch, "labels": labels}

    def train_dataloader(self) -> DataLoader[VisualQuestion]:
        """Return shuffled batches."""
        return DataLoader(self._training, batch_size=64, shuffle=True, collate_fn=self.collate)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[VisualQuestion]:
        """Return batches in their order."""
        return DataLoader(self._validation, batch_size=64, collate_fn=self.collate)  # type: ignore[arg-type]


class VisualQuestionAnswering(LightningModule):
    """A LLaVA that is trained to answer."""

    def __init__(self, learning_rate: float = 3e-3) -> None:
        """Make the model."""
        super().__init__()
        self.learning_rate = learning_rate
        self.model = make_model()

    def training_step(self, batch: Batch) -> Tensor:
        """Return the cross entropy of the answers' tokens."""
        loss: Tensor = self.model(**batch).loss
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Log the loss and how many answers are right."""
        outputs = self.model(**batch)
        right = outputs.logits[:, -2].argmax(-1) == batch["labels"][:, -1]
        scores = {"val_loss": outputs.loss, "val_accuracy": right.float().mean()}
        self.log_dict(scores, prog_bar=True, batch_size=len(right))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Warm up, then anneal to zero over the whole fit."""
        optimizer = torch.optim.AdamW(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, steps, pct_start=0.15)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(name: str, epochs: int, folder: Path, *, shuffle_images: bool) -> None:
    """Train a model under the monitor, and print what it saw."""
    seed_everything(0, verbose=False)
    monitor = MultimodalMonitor(
        # All that must be said. Mean and standard deviation give the pictures their colours back.
        modalities={"image": Modality("pixel_values", mean=MEAN, std=STD, max_segments=TOKENS), "text": "input_ids"},
        explainers=[DIME(num_examples=2), UnimodalImportance(num_examples=2), CrossModalInteraction(num_examples=2)],
    )
    alarm = UnimodalCollapse(expected=["image"])  # questions about images need images: no other proof is asked for
    logger = TensorBoardLogger(folder, name="", version=name)
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, logger=logger, callbacks=[monitor, alarm], gradient_clip_val=1.0,
        log_every_n_steps=8, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(VisualQuestionAnswering(), VisualQuestions(make_processor(), shuffle_images=shuffle_images))
    accuracy = float(trainer.callback_metrics["val_accuracy"])
    print(f"\n{name}: {accuracy:.0%} of the validation questions answered rightly\n{monitor.history}")


def where_to_look(folder: Path) -> str:
    """Say what to see of both trainings, and where."""
    return f"""
Where to look
  curves and pictures        tensorboard --logdir {folder}
  what answers are made of   {folder}/*/mviz/shares.png
  words by patches           {folder}/healthy/mviz/cross_modal/
  parts that raise answers   {folder}/healthy/mviz/dime/ and importance/
  the alarm                  {folder}/shuffled_images/mviz/alarm/image.txt"""


def main() -> None:
    """Train with the right images and with those of other scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("runs/visual_questions"), help="folder for the logs")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data lie in memory
    warnings.filterwarnings("ignore", message=".*took more than 10%")  # a training of seconds
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # about Lightning's own code
    train("healthy", arguments.epochs, arguments.output, shuffle_images=False)
    train("shuffled_images", arguments.epochs, arguments.output, shuffle_images=True)
    print(where_to_look(arguments.output))


if __name__ == "__main__":
    main()
