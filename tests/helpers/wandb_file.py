"""Read back what an offline W&B run wrote: a log of protobuf records in blocks, as LevelDB writes them."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

FILE_HEADER, BLOCK, RECORD_HEADER = 7, 32 * 1024, 7
FULL, LAST = 1, 4


def records(file: Path) -> Iterator[Any]:
    data, place, parts = file.read_bytes(), FILE_HEADER, b""
    while place + RECORD_HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < RECORD_HEADER:  # the rest of a block that holds no header is padding
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + RECORD_HEADER])
        place += RECORD_HEADER
        parts += data[place : place + length]
        place += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the only offline run below a folder."""
    (file,) = folder.rglob("offline-run-*/run-*.wandb")
    rows = [record.history.item for record in records(file) if record.HasField("history")]
    return [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]
