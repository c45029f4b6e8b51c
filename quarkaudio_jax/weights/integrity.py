"""Integrity of checkpoints, from names and sizes of their files without reading arrays."""

import json
import pathlib
import re
from collections.abc import Collection, Iterator
from typing import Any

import tensorstore as ts

MARKER = "_CHECKPOINT_METADATA"
"""The file that Orbax writes last."""

MODEL = ("model", "config")
ITEMS = (*MODEL, "training", "data")

_LOCATION = re.compile(r"(value|btreenode):([^:]*):([^:]*):(\d+):(\d+)")


def numbered(folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders of all steps, newest first."""
    return sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name), reverse=True)


def newest_intact(
    folder: pathlib.Path, items: Collection[str] = ITEMS
) -> tuple[pathlib.Path | None, dict[pathlib.Path, str]]:
    """(the newest step whose `items` are intact, or None; the newer steps and their damage)."""
    damaged: dict[pathlib.Path, str] = {}
    for path in numbered(folder):
        found = damage(path, items)
        if not found:
            return path, damaged
        damaged[path] = found
    return None, damaged


def intact_steps(damaged: pathlib.Path) -> str:
    """Lists the other steps with intact models, for an error message."""
    folder = damaged.parent
    found = [path.name for path in numbered(folder) if path != damaged and not damage(path, MODEL)]
    return f"Intact in {folder}: {', '.join(f'step {name}' for name in found) or 'none'}"


def damage(step: pathlib.Path, items: Collection[str] = ITEMS) -> str:
    """Describes the damage to those of `items` that were saved; '' if they are intact."""
    try:
        return _damage(step, items)
    except OSError as error:
        return f"can't be read: {error}"


def _damage(step: pathlib.Path, wanted: Collection[str]) -> str:
    marker = _json(step / MARKER)
    if not isinstance(marker, dict) or not marker.get("commit_timestamp_nsecs"):
        return f"{MARKER} is missing or damaged: saving or copying was not finished"
    items = (set(marker.get("item_handlers") or ()) | set(MODEL)) & set(wanted)
    if not isinstance(_json(step / "config" / "metadata"), dict):
        return "config/metadata is missing or damaged"
    for item in sorted(items & {"model", "training"}):
        found = next(_array_damage(step / item), None)
        if found:
            return f"{item}/{found}".replace("/:", ":")
    return _data_damage(step / "data") if "data" in items else ""


def _data_damage(folder: pathlib.Path) -> str:
    found = sorted(folder.glob("process_*-of-*.json")) if folder.is_dir() else []
    hosts = int(found[0].stem.rsplit("-", 1)[1]) if found and found[0].stem.rsplit("-", 1)[1].isdigit() else 1
    for host in range(hosts):
        name = f"process_{host}-of-{hosts}.json"
        if not isinstance(_json(folder / name), dict):
            return f"data/{name} is missing or damaged"
    return ""


def _json(path: pathlib.Path) -> Any:
    """The contents of a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _array_damage(item: pathlib.Path) -> Iterator[str]:
    """Describes each damage to the arrays of an item."""
    if not isinstance(_json(item / "_METADATA"), dict):
        yield "_METADATA is missing or damaged"
    for path in sorted((item / "array_metadatas").glob("*")):
        if not isinstance(_json(path), dict):
            yield f"array_metadatas/{path.name} is damaged"
    if not (item / "manifest.ocdbt").is_file():
        yield "manifest.ocdbt is missing"
        return
    store = ts.KvStore.open({"driver": "file", "path": f"{item}/"}).result()
    try:
        versions = ts.ocdbt.dump(store).result()["versions"]
        todo = [v["root"]["location"] for v in versions[-1:]]
        if not todo:
            yield "manifest.ocdbt is empty"
        while todo:
            location = todo.pop()
            match = _LOCATION.fullmatch(location)
            if match is None:
                raise ValueError(f"unknown location {location}")
            kind, base, name, offset, length = match.groups()
            path = item / base / name
            size = path.stat().st_size if path.is_file() else -1
            if size < int(offset) + int(length):
                yield f"{base}{name} " + ("is missing" if size < 0 else f"is cut off after {size} bytes")
            elif kind == "btreenode":
                todo += _locations(ts.ocdbt.dump(store, node=location).result())
    except ValueError as error:  # raised by TensorStore for bytes that it can't decode
        yield f": {str(error).splitlines()[0][:200]}"


def _locations(node: Any) -> Iterator[str]:
    """All locations that a decoded node refers to."""
    if isinstance(node, dict):
        node = list(node.values())
    for value in node if isinstance(node, list) else [node]:
        if isinstance(value, str) and _LOCATION.fullmatch(value):
            yield value
        elif isinstance(value, dict | list):
            yield from _locations(value)
