"""Cycles, collectives and largest arrays, parsed from the text of an optimized XLA module.

Unlike in XLA's own cost analysis, the body of a loop counts once per iteration.
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
    """An HLO instruction; size: bytes of its result, cycles: the TPU compiler's estimate, or None."""

    opcode: str
    shape: str
    size: int
    cycles: int | None
    source: str
    text: str


Computations = dict[str, list[Instruction]]
"""Instructions by the name of their computation."""


@dataclasses.dataclass(frozen=True)
class Array:
    """The result of an instruction, an array or a tuple; source: the op that made it."""

    size: int
    shape: str
    source: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cycles of all instructions that one op was compiled to, times their loops' iterations.

    count: number of instructions. source: the op's name, with * for numbers and without transformations.
    """

    cycles: int
    count: int
    source: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """Summary of a module.

    cycles: total, with loops. collectives: kind -> (count, bytes of their results on a device). largest: the largest
    distinct arrays that are not arguments. costliest: the ops with most cycles.
    """

    cycles: int
    collectives: dict[str, tuple[int, int]]
    largest: list[Array]
    costliest: list[Cost]


def _size(shape: str) -> int:
    """Bytes of all arrays in a shape, which may be a tuple."""
    found = re.findall(r"([a-z]+[0-9a-z]*)\[([0-9,]*)\]", shape)
    return sum(BYTES.get(kind, 4) * math.prod(int(n) for n in dims.split(",") if n) for kind, dims in found)


def _shape_and_rest(text: str) -> tuple[str, str]:
    """Splits '(f32[2], s32[]) while(...)' into the shape and the rest."""
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


def parse_computations(text: str) -> tuple[Computations, str]:
    """(computations by name, the entry's name) of a module's text."""
    out: Computations = {}
    entry, current = "", None
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            current = out.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif current is not None and (found := _instruction(line)):
            current.append(found)
    return out, entry


def _called(instruction: Instruction, attribute: str) -> str:
    """The computation that an attribute names; empty if there is none."""
    found = re.search(rf"\b{attribute}=%?([\w.\-]+)", instruction.text)
    return found[1] if found else ""


def _trip_count(loop: Instruction, computations: Computations) -> int:
    """Iterations of a loop: the known trip count, else the only constant in its condition, else 1."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(known[1])
    numbers = [
        int(n[1])
        for i in computations.get(_called(loop, "condition"), [])
        if i.shape.startswith("s32[]") and (n := re.match(r"constant\((\d+)\)", i.text))
    ]
    return numbers[0] if len(numbers) == 1 else 1


def _bodies(instruction: Instruction) -> list[str]:
    """Computations that an instruction runs once: of fusions, calls and all branches; not of reducers."""
    if found := re.search(r"branch_computations=\{([^}]*)\}", instruction.text):
        return re.findall(r"[\w.\-]+", found[1])
    attributes = {"call": ["to_apply"], "conditional": ["true_computation", "false_computation"]}
    named = (_called(instruction, name) for name in attributes.get(instruction.opcode, ["calls"]))
    return [name for name in named if name]


def _executions(computations: Computations, entry: str) -> tuple[dict[str, int], dict[str, int]]:
    """(executions of each computation that is not fused, executions of all computations)."""
    unfused: dict[str, int] = collections.Counter()
    total: dict[str, int] = collections.Counter()

    def visit(name: str, times: int, fused: bool) -> None:
        total[name] += times
        if not fused:
            unfused[name] += times
        for instruction in computations[name]:
            if instruction.opcode == "while":
                visit(_called(instruction, "body"), times * _trip_count(instruction, computations), fused)
                continue
            for inner in _bodies(instruction):
                visit(inner, times, fused or instruction.opcode == "fusion")

    visit(entry, 1, False)
    return unfused, total


def summarize(text: str, largest: int = 10) -> Summary:
    """Summarizes the text of a compiled module (`compiled.as_text()`); largest: number of arrays and ops to list."""
    computations, entry = parse_computations(text)
    if not entry:
        return Summary(0, {}, [], [])
    unfused, total = _executions(computations, entry)
    cycles = sum(times * (i.cycles or 0) for name, times in unfused.items() for i in computations[name])
    moved: dict[tuple[str, str], tuple[int, int]] = {}
    for name, times in total.items():
        for number, i in enumerate(computations[name]):
            kind = i.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                # A transfer may appear in the fusion that starts it and in the one that ends it, with the same channel.
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
        for name in unfused
        for i in computations[name]
        if i.opcode not in _NO_ARRAY and not i.opcode.endswith(("-start", "-done"))
    }
    biggest = sorted(arrays, key=lambda a: (-a.size, a.source))[:largest]
    return Summary(cycles, collectives, biggest, _costs(computations, unfused)[:largest])


def _costs(computations: Computations, executions: dict[str, int]) -> list[Cost]:
    """Costs of all ops, the costliest first."""
    found: dict[str, tuple[int, int]] = {}
    for name, times in executions.items():
        for instruction in computations[name]:
            if instruction.cycles:
                source = re.sub(r"jit\(\w+\)/|while/body/|closed_call/|cond/branch_\d+_fun/", "", instruction.source)
                source = re.sub(r"\d+", "*", source)
                cycles, count = found.get(source, (0, 0))
                found[source] = (cycles + times * instruction.cycles, count + 1)
    return sorted((Cost(*cost, source) for source, cost in found.items()), key=lambda c: (-c.cycles, c.source))
