"""Mutations of bytes, of JSON values and of text, drawn from a seeded random.Random."""

import copy
import io
import json
import random
import tokenize
from collections.abc import Sequence
from typing import Any

SIZES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
"""What a damaged size field holds."""

NUMBERS = (0, 1, -1, 2, 3, 255, 65536, 99999, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63, 2**64, 10**40)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e-9, 1e9, 1e30, 1e308, float("inf"), -float("inf"), float("nan"))
TEXTS = ("", " ", "x", "é", "\u2028", "\x00", "a\nb", "..", "/", "~", "%s", "{}", "nan", "1e4", "-5", "true", "x" * 300)
VALUES = (
    *NUMBERS,
    *FLOATS,
    *TEXTS,
    "\ud800",
    None,
    True,
    False,
    [],
    {},
    [[]],
    [0],
    [1, 2, 3],
    ["a"],
    {"a": 1},
    [None, {}],
)


def damaged(rng: random.Random, data: bytes, donor: bytes = b"") -> bytes:
    """Bytes after one to four mutations. donor: another file, parts of which are spliced in."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(BYTES)(rng, data, donor)
    return data


def flipped(rng: random.Random, data: bytes, _: bytes = b"") -> bytes:
    """With some bits the other way round."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if out else 0):
        out[_place(rng, out)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _place(rng: random.Random, data: Sequence) -> int:
    """A position; every other one lies among the first 256, where headers are."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data))


def _truncated(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return (
        data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data[: max(len(data) - rng.randint(1, 64), 0)]
    )


def _headless(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[rng.randint(1, 64) :]


def _inserted(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 100, 5000))) + data[at:]


def _removed(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 4, 64, 1000)) :]


def _overwritten(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at, count = rng.randrange(len(data) + 1), rng.choice((1, 4, 64, 512))
    count = len(data[at : at + count])
    return data[:at] + rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count))) + data[at + count :]


def _repeated(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at, count = rng.randrange(len(data) + 1), rng.choice((4, 64, 1000, len(data)))
    return data[:at] + data[at : at + count] * 2 + data[at + count :]


def _spliced(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    donor = donor or data
    return data[: rng.randrange(len(data) + 1)] + donor[rng.randrange(len(donor) + 1) :]


def _resized(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """A word of 2, 4 or 8 bytes becomes a size that is at an edge, or lies a little beside what it was."""
    width, order = rng.choice((2, 4, 4, 4, 8)), rng.choice(("little", "big"))
    if len(data) < width:
        return data
    at = _place(rng, data[: len(data) - width + 1])
    old = int.from_bytes(data[at : at + width], order)
    new = rng.choice((*SIZES, old + 1, old - 1, old + 4, old * 2, old // 2, len(data), len(data) - at))
    return data[:at] + (new % 256**width).to_bytes(width, order) + data[at + width :]


BYTES = (flipped, _truncated, _headless, _inserted, _removed, _overwritten, _repeated, _spliced, _resized, _resized)


def edited(rng: random.Random, value: Any) -> Any:
    """A JSON value with one to three of its fields changed, removed, renamed or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _edit(rng, value)
    return value


def _edit(rng: random.Random, value: Any) -> Any:
    holders = list(_holders(value))
    if not holders:
        return copy.deepcopy(rng.choice(VALUES))
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    action = rng.random()
    if action < 0.7:
        holder[key] = _another(rng, holder[key])
    elif action < 0.85:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice((key + "x", key.upper(), "", "é", "__class__"))] = (
            holder[key] if rng.random() < 0.5 else holder.pop(key)
        )
    else:
        holder.insert(key, _another(rng, holder[key]))
    return value


def _holders(value: Any):
    """Every object and list that is not empty."""
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def _another(rng: random.Random, value: Any) -> Any:
    """A value of the same type half of the time, else any."""
    if rng.random() < 0.5:
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return rng.choice((value + 1, value - 1, -value, value * 2, float(value), str(value), *NUMBERS))
        if isinstance(value, float):
            return rng.choice((-value, value * 1e6, round(value, 1), str(value), *FLOATS))
        if isinstance(value, str):
            return rng.choice((value[:-1], value * 2, value.upper(), *TEXTS))
        if isinstance(value, list):
            return rng.choice((value[:-1], value * 2, value[::-1], [value]))
    return copy.deepcopy(rng.choice(VALUES))


def json_bytes(rng: random.Random, value: Any, **options) -> bytes:
    """A value as JSON, now and then in another encoding, nested beyond reason, or damaged as text."""
    data = json.dumps(value, **options).encode("utf-8", "surrogatepass")
    action = rng.random()
    if action < 0.9:
        return data
    return rng.choice(
        (
            b"\xef\xbb\xbf" + data,
            data.decode("utf-8", "replace").encode("utf-16"),
            b"[" * 100_000,
            b"9" * 5000,
            data[:-1],
        )
    )


def rewritten(rng: random.Random, source: str) -> str:
    """Python source with one to four tokens replaced, removed, repeated or exchanged.

    Names are replaced by names that the source itself uses, so that it can do nothing that the original can't.
    """
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.string.strip()]
    tokens = [t for t in tokens if t.type in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP)]
    names = sorted({t.string for t in tokens if t.type == tokenize.NAME})
    lines = source.splitlines(keepends=True)
    words = [t for t in tokens if t.type != tokenize.OP]
    chosen = rng.sample(words if rng.random() < 0.8 else tokens, min(rng.choice((1, 1, 2, 3, 4)), len(words)))
    for token in sorted(chosen, key=lambda t: t.start, reverse=True):
        (row, first), (last_row, last) = token.start, token.end
        if row == last_row:
            line = lines[row - 1]
            lines[row - 1] = line[:first] + _token(rng, token, names) + line[last:]
    return "".join(lines)


def _token(rng: random.Random, token: tokenize.TokenInfo, names: list[str]) -> str:
    if rng.random() < 0.15:
        return rng.choice(("", f"{token.string} {token.string}", "\n", "    "))
    if token.type == tokenize.NAME:
        return rng.choice((*names, "None", "True", "nowhere", token.string + "x", "lambda"))
    if token.type == tokenize.NUMBER:
        return rng.choice((*map(repr, NUMBERS), *map(repr, FLOATS), "1e4", "'1'", "()", "(1,)", "1_000", "0x", "1j"))
    if token.type == tokenize.STRING:
        return rng.choice((*map(repr, TEXTS), "0", "None", token.string[:-1], f"f{token.string}", f"b{token.string}"))
    return rng.choice(("(", ")", "[", "]", "{", "}", ",", ":", "=", ".", "+", "-", "/", "==", ";", "@"))
