"""Read back what loggers hold on disk: kind of record -> name -> what was kept."""

import json
import sqlite3
import wave
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL.Image import open as open_picture

Found: TypeAlias = dict[str, dict[str, Any]]

WORDS = {"a+b": "plus", "ab": "bare"}
"""Names that a logger which deletes characters takes for one, and a word that stands in the records of each."""

RATE = 8000
"""Samples per second of the sounds."""

KINDS = ("scalar", "picture", "table", "text", "alert", "file", "sound")


def pixels_of(name: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(name)).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def samples_of(name: str) -> np.ndarray[Any, Any]:
    return (np.arange(100, dtype=np.int16) * len(name) * 100)[:, None]


def value_of(name: str) -> float:
    return len(name) / 4


def pixels(source: Any) -> np.ndarray[Any, Any]:
    with open_picture(BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.asarray(image.convert("RGB"))


def samples(data: bytes) -> np.ndarray[Any, Any]:
    with wave.open(BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())


def holds(kind: str, name: str, kept: Any) -> bool:
    """Tell whether what was kept is the record of this kind and name."""
    if kind == "scalar":
        return bool(kept == value_of(name))
    if kind == "picture":
        return np.array_equal(pixels(kept), pixels_of(name))
    if kind == "sound":
        return np.array_equal(samples(kept), samples_of(name))
    text = kept if isinstance(kept, str) else kept.decode()
    return WORDS[name] in text and not any(word in text for other, word in WORDS.items() if other != name)


def sort(items: Iterator[tuple[str, Any]]) -> Found:
    """Return what a logger keeps under the monitor's names, by the kind that the name tells."""
    found: Found = {kind: {} for kind in KINDS}
    for name, kept in items:
        kind = name.split("/")[1] if name.count("/") > 1 else ""
        if kind in found:
            found[kind][name] = kept
    return found


def tensorboard(folder: Path) -> Iterator[tuple[str, Any]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = dict.fromkeys(("images", "tensors", "scalars", "audio"), 0)
    events = EventAccumulator(str(folder), size_guidance=sizes).Reload()
    tags = events.Tags()
    yield from ((tag, events.Scalars(tag)[-1].value) for tag in tags["scalars"])
    yield from ((tag, events.Images(tag)[-1].encoded_image_string) for tag in tags["images"])
    yield from ((tag, events.Audio(tag)[-1].encoded_audio_string) for tag in tags["audio"])
    for tag in tags["tensors"]:
        if tag.endswith("/text_summary"):
            yield tag.removesuffix("/text_summary"), events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()


def wandb(folder: Path) -> Iterator[tuple[str, Any]]:
    from helpers.wandb_file import history, records

    (file,) = folder.rglob("offline-run-*/run-*.wandb")
    media = file.parent / "files"
    for row in history(folder):
        for key, value in row.items():
            if key.endswith(".path"):
                yield key.removesuffix(".path"), (media / value).read_bytes()
            elif "." not in key:
                yield key, value
    for record in records(file):
        if record.HasField("alert"):
            yield f"mviz/alert/{record.alert.title}", f"{record.alert.title} {record.alert.text}"
    for path in (media / "mviz").rglob("*"):
        if path.is_file():
            yield path.relative_to(media).as_posix(), path.read_bytes()


def mlflow(folder: Path) -> Iterator[tuple[str, Any]]:
    with sqlite3.connect(folder / "mlflow.db") as database:
        yield from database.execute("SELECT key, value FROM metrics ORDER BY step")
        yield from database.execute("SELECT key, value FROM tags")
    (artifacts,) = (folder / "artifacts").glob("*/artifacts")
    for path in artifacts.rglob("*"):
        name = path.relative_to(artifacts).as_posix()
        if name.startswith("images/") and path.suffix == ".png":
            yield path.name.partition("+")[0].replace("~", "/"), path.read_bytes()
        elif path.is_file() and not name.startswith("images/"):
            yield name, path.read_bytes()


def comet(folder: Path) -> Iterator[tuple[str, Any]]:
    (path,) = folder.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        for line in archive.read("messages.json").decode().splitlines():
            message = json.loads(line)
            sent = message["payload"]
            if message["type"] == "metric_msg":
                yield sent["metric"]["metricName"], sent["metric"]["metricValue"]
            elif message["type"] == "log_other":
                yield sent["key"], str(sent["value"])
            elif message["type"] == "file_upload":
                about = sent["additional_params"]
                name = sent["metadata"].get("key") or about.get("figName") or about["fileName"]
                yield name, archive.read(sent["file_path"])


def trackio(folder: Path) -> Iterator[tuple[str, Any]]:
    (path,) = folder.glob("*.db")
    with sqlite3.connect(path) as database:
        for (line,) in database.execute("SELECT metrics FROM metrics ORDER BY step"):
            for key, value in json.loads(line).items():
                if not isinstance(value, dict):
                    yield key, value
                elif "file_path" in value:
                    yield key, (folder / "media" / value["file_path"]).read_bytes()
                else:
                    yield key, json.dumps(value["_value"])
        for title, text in database.execute("SELECT title, text FROM alerts"):
            yield f"mviz/alert/{title}", f"{title} {text}"


def swanlab(folder: Path) -> Iterator[tuple[str, Any]]:
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    (path,) = folder.rglob("run-*.swanlab")
    reader = DataStoreReader()
    reader.open(path)
    for data in reader:
        record = Record.FromString(data)
        if record.HasField("scalar"):
            yield record.scalar.key, record.scalar.value.number
        elif record.HasField("media"):
            for item in record.media.value.items:
                (kept,) = (path.parent / "media").rglob(item.filename)
                yield record.media.key, kept.read_bytes()
    reader.close()


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
    one.__name__: one for one in (tensorboard, wandb, mlflow, comet, trackio, swanlab)
}
