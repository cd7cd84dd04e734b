"""Decodes snapshot.json."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .blocks import FileDigest, LayerFact
from .errors import CorruptError

MAX_FACTS_BYTES = 16 << 20

_VERSION = 1


@dataclass(frozen=True)
class Facts:
    """snapshot.json."""

    pause_id: uuid.UUID
    build_id: uuid.UUID
    created: str
    generation: int
    memory_bytes: int
    header_format: str
    header: FileDigest
    vmstate: Optional[FileDigest]
    layers: Tuple[LayerFact, ...]
    parent_pause_id: Optional[uuid.UUID]
    parent: Optional[str]
    origin: Dict[str, str]


class _Fields:
    """Reads typed fields of a JSON object."""

    def __init__(self, value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise CorruptError(f"its field '{name}' is missing or wrong")
        self._fields: Dict[str, Any] = value

    def has(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str, kind: type) -> Any:
        value = self._fields.get(name)
        if type(value) is not kind:  # a bool is no number here
            raise CorruptError(f"its field '{name}' is missing or wrong")
        return value

    def number(self, name: str) -> int:
        value: int = self.get(name, int)
        if not 0 <= value < 1 << 64:
            raise CorruptError(f"its field '{name}' is missing or wrong")
        return value

    def text(self, name: str) -> str:
        value: str = self.get(name, str)
        return value

    def id(self, name: str) -> uuid.UUID:
        try:
            value = uuid.UUID(self.text(name))
        except ValueError:
            raise CorruptError(f"its field '{name}' is missing or wrong") from None
        return value

    def digest(self, name: str) -> FileDigest:
        inner = _Fields(self._fields.get(name), name)
        size, text = inner.number("bytes"), inner.text("xxh3_128")
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            digest = b""
        if len(digest) != 16 or digest.hex() != text:
            raise CorruptError(f"its field '{name}' is missing or wrong")
        return FileDigest(size, digest)


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def decode_facts(data: bytes) -> Facts:
    """Decodes snapshot.json."""
    try:
        parsed = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise CorruptError("it is not a JSON object") from None
    if not isinstance(parsed, dict):
        raise CorruptError("it is not a JSON object")
    fields = _Fields(parsed, "")
    version = fields.number("version")
    if version != _VERSION:
        raise CorruptError(f"it has version {version}; this package reads version "
                           f"{_VERSION}")
    header_format = fields.text("header_format")
    if header_format not in ("native", "v1", "v3"):
        raise CorruptError("its field 'header_format' is missing or wrong")
    layers = []
    for item in fields.get("layers", list):
        layer = _Fields(item, "layers")
        layers.append(LayerFact(layer.id("build_id"), bool(layer.get("checksums", bool))))
    origin = fields.get("origin", dict) if fields.has("origin") else {}
    if any(not isinstance(origin.get(name, ""), str)
           for name in ("vmm_version", "cpu", "kernel", "huge_pages")):
        raise CorruptError("its field 'origin' is missing or wrong")
    return Facts(
        pause_id=fields.id("pause_id"), build_id=fields.id("build_id"),
        created=fields.text("created"), generation=fields.number("generation"),
        memory_bytes=fields.number("memory_bytes"), header_format=header_format,
        header=fields.digest("header"),
        vmstate=fields.digest("vmstate") if fields.has("vmstate") else None,
        layers=tuple(layers),
        parent_pause_id=fields.id("parent_pause_id") if fields.has("parent_pause_id") else None,
        parent=fields.text("parent") if fields.has("parent") else None,
        origin={name: value for name, value in origin.items() if isinstance(value, str)})
