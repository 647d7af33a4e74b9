"""Build ``openmoji.npz``, the picture-and-text data set of the OpenMoji example.

The pictures and texts come from the npm package openmoji 17.0.0. Kept is every emoji that

* belongs to one of the eight Unicode groups with pictures of things (``CLASS_NAMES``): left out are ``flags``
  (270, whose annotation says "flag"), ``component`` (9) and OpenMoji's own ``extras-openmoji`` (405) and
  ``extras-unicode`` (137), which have no Unicode group;
* has no skin tone: the 2,030 toned variants in ``people-body`` show the same picture in another colour.

That leaves 1,644 emojis. The text is the *annotation* (the short name, such as "red apple"), not the tags: the tags
are long synonym lists that nearly name the group, so that a model could do without the picture.

Running this twice gives the same arrays. It needs ``pip install resvg-py pillow numpy``, and npm for the download::

    python examples/data/build_openmoji.py                      # downloads the npm package
    python examples/data/build_openmoji.py --package ./package  # uses an unpacked one
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import resvg_py
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

NPM_PACKAGE = "openmoji@17.0.0"
CLASS_NAMES = (
    "activities",
    "animals-nature",
    "food-drink",
    "objects",
    "people-body",
    "smileys-emotion",
    "symbols",
    "travel-places",
)
IMAGE_SIZE = 32
VALIDATION_SHARE = 0.25
SPLIT_SEED = 0

Emoji = dict[str, Any]


def download(folder: Path) -> Path:
    """Download the npm package and unpack it below `folder`; return the unpacked package."""
    command = ["npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def select(package: Path) -> list[Emoji]:
    """Read the emojis of the eight groups without a skin tone, in OpenMoji's own order."""
    emojis: list[Emoji] = json.loads((package / "data" / "openmoji.json").read_text(encoding="utf-8"))
    return [emoji for emoji in emojis if emoji["group"] in CLASS_NAMES and not emoji["skintone"]]


def render(svg: Path) -> NDArray[np.uint8]:
    """Render one SVG file on white, as RGB of shape ``(32, 32, 3)``."""
    png = resvg_py.svg_to_bytes(
        svg_path=str(svg),
        width=IMAGE_SIZE,
        height=IMAGE_SIZE,
        background="white",
        # The colour SVGs hold outlines only; without fonts the result cannot depend on the machine's.
        skip_system_fonts=True,
    )
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a split in which every class has the same share of validation examples.

    Returns:
        The sorted indices of the training and of the validation examples.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASS_NAMES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(VALIDATION_SHARE * len(members))]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def build(package: Path) -> dict[str, NDArray[Any]]:
    """Make all arrays of the data set from an unpacked npm package."""
    emojis = select(package)
    labels = np.array([CLASS_NAMES.index(emoji["group"]) for emoji in emojis])
    train, validation = split(labels)
    return {
        "images": np.stack([render(package / "color" / "svg" / f"{emoji['hexcode']}.svg") for emoji in emojis]),
        "texts": np.array([emoji["annotation"] for emoji in emojis]),
        "hexcodes": np.array([emoji["hexcode"] for emoji in emojis]),
        "labels": labels.astype(np.uint8),
        "class_names": np.array(CLASS_NAMES),
        "train": train.astype(np.int16),
        "validation": validation.astype(np.int16),
    }


def main() -> None:
    """Write the data set beside this script."""
    parser = argparse.ArgumentParser(description="Build openmoji.npz from the npm package openmoji 17.0.0.")
    parser.add_argument("--package", type=Path, help="an unpacked npm package (default: download it)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("openmoji.npz"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arrays = build(arguments.package or download(Path(folder)))
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    print(f"{arguments.output}: {len(arrays['labels']):,} examples, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
