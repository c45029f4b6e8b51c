"""What an optimized XLA module says of itself: cycles, collectives, its largest arrays.

XLA's own totals count the body of a loop once; here it counts as often as it runs.
"""

import collections
import dataclasses
import functools
import math
import re

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_NO_ARRAY = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "while", "conditional", "call"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """opcode: without -start and -done. size: bytes of what it gives. cycles: the TPU compiler's estimate, or None."""

    opcode: str
    shape: str
    size: int
    cycles: int | None
    source: str
    text: str


@dataclasses.dataclass(frozen=True)
class Array:
    """What an instruction of a program gives: an array, or several together. source: what in the program made it."""

    size: int
    shape: str
    source: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cycles of all instructions, `count` of them in the text, that one part of the program became, loops included.

    source: that part's name in the program, with * for numbers and without what only says how it was transformed.
    """

    cycles: int
    count: int
    source: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """cycles: of all fusions and products, loops included. collectives: kind -> (how many, bytes they move a device).

    largest: the largest distinct arrays that are not arguments. costliest: the parts with most cycles.
    """

    cycles: int
    collectives: dict[str, tuple[int, int]]
    largest: list[Array]
    costliest: list[Cost]


def _size(shape: str) -> int:
    """Bytes of all arrays in a shape, tuples included."""
    found = re.findall(r"([a-z]+[0-9a-z]*)\[([0-9,]*)\]", shape)
    return sum(BYTES.get(kind, 4) * math.prod(int(n) for n in dims.split(",") if n) for kind, dims in found)


def _shape_and_rest(text: str) -> tuple[str, str]:
    """'(f32[2], s32[]) while(...)' into its shape and the rest."""
    depth = 0
    for i, letter in enumerate(text):
        depth += letter in "([{"
        depth -= letter in ")]}"
        if letter == " " and depth == 0:
            return text[:i], text[i + 1 :]
    return text, ""


def _instruction(line: str) -> Instruction | None:
    found = re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*)", line)
    if not found:
        return None
    shape, rest = _shape_and_rest(found[1])
    opcode = re.match(r"[\w\-]+", rest)
    cycles, source = re.search(r'estimated_cycles":"(\d+)"', rest), re.search(r'op_name="([^"]*)"', rest)
    return Instruction(
        opcode[0] if opcode else "",
        re.sub(r"\{[^}]*\}|/\*[^*]*\*/", "", shape),
        _size(shape),
        int(cycles[1]) if cycles else None,
        source[1] if source else "",
        rest,
    )


def computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """(name -> instructions, the entry's name) of a module's text."""
    out, entry, current = {}, "", None
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            current = out.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif current is not None and (found := _instruction(line)):
            current.append(found)
    return out, entry


def _called(instruction: Instruction, name: str) -> str | None:
    found = re.search(rf"\b{name}=%?([\w.\-]+)", instruction.text)
    return found[1] if found else None


def _trips(loop: Instruction, modules: dict[str, list[Instruction]]) -> int:
    """How often a loop runs: as the compiler notes it, else the one number that its condition compares with."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(known[1])
    numbers = [
        int(n[1])
        for i in modules.get(_called(loop, "condition"), [])
        if i.shape.startswith("s32[]") and (n := re.match(r"constant\((\d+)\)", i.text))
    ]
    return numbers[0] if len(numbers) == 1 else 1


def _bodies(instruction: Instruction) -> list[str]:
    """What an instruction runs once: a fusion's or call's body, all branches of a conditional; no reducers."""
    if found := re.search(r"branch_computations=\{([^}]*)\}", instruction.text):
        return re.findall(r"[\w.\-]+", found[1])
    words = {"call": ["to_apply"], "conditional": ["true_computation", "false_computation"]}
    named = (_called(instruction, word) for word in words.get(instruction.opcode, ["calls"]))
    return [name for name in named if name]


def _runs(modules: dict[str, list[Instruction]], entry: str) -> tuple[dict[str, int], dict[str, int]]:
    """How often each computation runs: those that run by themselves, and all, fused ones included."""
    alone: dict[str, int] = collections.Counter()
    every: dict[str, int] = collections.Counter()

    def visit(name: str, times: int, fused: bool) -> None:
        every[name] += times
        if not fused:
            alone[name] += times
        for instruction in modules[name]:
            if instruction.opcode == "while":
                visit(_called(instruction, "body"), times * _trips(instruction, modules), fused)
                continue
            for inner in _bodies(instruction):
                visit(inner, times, fused or instruction.opcode == "fusion")

    visit(entry, 1, False)
    return alone, every


def summarize(text: str, largest: int = 10) -> Summary:
    """Of the text of a compiled module (`compiled.as_text()`)."""
    modules, entry = computations(text)
    if not entry:
        return Summary(0, {}, [], [])
    alone, every = _runs(modules, entry)
    cycles = sum(times * (i.cycles or 0) for name, times in alone.items() for i in modules[name])
    moved: dict[tuple[str, str], tuple[int, int]] = {}
    for name, times in every.items():
        for number, i in enumerate(modules[name]):
            kind = i.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                # One transfer may be spelt out in the fusions that begin and that end it; its channel tells.
                channel = re.search(r"channel_id=(\d+)", i.text)
                key = (kind, channel[1] if channel else f"{name} {number}")
                moved[key] = max(moved.get(key, (0, 0)), (times, times * i.size))
    collectives = {
        kind: functools.reduce(lambda a, b: (a[0] + b[0], a[1] + b[1]), [v for k, v in moved.items() if k[0] == kind])
        for kind in COLLECTIVES
        if any(k[0] == kind for k in moved)
    }
    arrays = {
        Array(i.size, i.shape, i.source)
        for name in alone
        for i in modules[name]
        if i.opcode not in _NO_ARRAY and not i.opcode.endswith(("-start", "-done"))
    }
    biggest = sorted(arrays, key=lambda a: (-a.size, a.source))[:largest]
    return Summary(cycles, collectives, biggest, _costs(modules, alone)[:largest])


def _costs(modules: dict[str, list[Instruction]], runs: dict[str, int]) -> list[Cost]:
    """Of every part of the program, the costliest first; `runs`: how often each computation runs by itself."""
    found: dict[str, tuple[int, int]] = {}
    for name, times in runs.items():
        for instruction in modules[name]:
            if instruction.cycles:
                source = re.sub(r"jit\(\w+\)/|while/body/|closed_call/|cond/branch_\d+_fun/", "", instruction.source)
                source = re.sub(r"\d+", "*", source)
                cycles, count = found.get(source, (0, 0))
                found[source] = (cycles + times * instruction.cycles, count + 1)
    return sorted((Cost(*cost, source) for source, cost in found.items()), key=lambda c: (-c.cycles, c.source))
