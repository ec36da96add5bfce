"""Read back what W&B recorded offline: protocol buffers in LevelDB's log format."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

_HEADER = 7  # of the file, and of each piece: checksum, length, kind
_BLOCK = 32768
_FULL, _LAST = 1, 4


def recorded_values(path: Path, name: str) -> dict[int, float]:
    """Return one curve by step, of a run that has been finished: W&B's service may still be writing, and is awaited."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    deadline = time.monotonic() + 30
    while True:
        records = [Record.FromString(content) for content in _records(path.read_bytes())]
        if any(record.HasField("exit") for record in records):
            break
        assert time.monotonic() < deadline, f"{path} was never completed"
        time.sleep(0.05)
    values = {}
    for record in records:
        row = {"/".join(item.nested_key): item.value_json for item in record.history.item}
        if name in row:
            values[int(row["_step"])] = float(json.loads(row[name]))
    return values


def _records(data: bytes) -> Iterator[bytes]:
    """Yield every record; one that does not fit into the rest of its block goes on in the next."""
    position, content = _HEADER, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + _HEADER])
        position += _HEADER
        content += data[position : position + length]
        position += length
        if kind in (_FULL, _LAST):
            yield content
            content = b""
