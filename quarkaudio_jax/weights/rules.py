"""The engine behind the tables: rename, transpose, stack.

A rule pairs a PyTorch name with a path in our variables. In both, `{i}`-style fields stand
for numbers and are carried over; `*` stands for a layer number that becomes the leading
axis of one stacked array. Every tensor on both sides must be used exactly once.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one tensor's axes are laid out on both sides; the two functions are inverses."""

    name: str
    to_jax: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


SAME = Layout("same", lambda x: x, lambda x: x)
LINEAR = Layout("linear (out, in)", lambda x: x.T, lambda x: x.T)
CONV = Layout("conv (out, in, k)", lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0))
DEPTHWISE = Layout("depthwise (channels, 1, k)", lambda x: x[:, 0].T, lambda x: x.T[:, None])
DECONV = Layout("transposed conv (in, out, k)", lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(1, 2, 0))
POINTWISE = Layout("pointwise conv (out, in, 1)", lambda x: x[..., 0].T, lambda x: x.T[..., None])
VECTOR = Layout("(channels, 1, 1)", lambda x: x[:, 0, 0], lambda x: x[:, None, None])
QUERY = Layout("(1, channels, 1)", lambda x: x[0, :, 0], lambda x: x[None, :, None])
TAPS = Layout("(1, 1, k)", lambda x: x[0, 0], lambda x: x[None, None])
HEADS = Layout("(1, heads, 1, 1)", lambda x: x[0, :, 0, 0], lambda x: x[None, :, None, None])
QKV = Layout(
    "stacked projections (3 * out, in)",
    lambda x: x.reshape(3, -1, x.shape[1]).transpose(2, 0, 1),
    lambda x: x.transpose(1, 2, 0).reshape(-1, x.shape[0]),
)
LEADING_ONE = Layout("(1, ...)", lambda x: x[0], lambda x: x[None])


@dataclasses.dataclass(frozen=True)
class Rule:
    """PyTorch name pattern -> our path pattern ('/'-separated), with the axis layout."""

    torch: str
    path: str
    layout: Layout = SAME


@dataclasses.dataclass(frozen=True)
class Constant:
    """A PyTorch entry that we compute: checked on the way in, made again on the way out.

    value: called with the numbers of the pattern's fields; atol: how far the file's may be off.
    """

    torch: str
    value: Callable[..., np.ndarray]
    atol: float = 1e-6


class UnmatchedError(QuarkAudioError, ValueError):
    """Names on one side that nothing on the other side corresponds to."""


def _regex(pattern: str) -> re.Pattern:
    parts = re.split(r"(\*|\{\w\})", pattern)
    out = ""
    for part in parts:
        if part == "*":
            out += r"(?P<layer>\d+)"
        elif part.startswith("{"):
            out += rf"(?P<{part[1]}>\d+)"
        else:
            out += re.escape(part)
    return re.compile(out)


def _fields(match: re.Match) -> dict[str, str]:
    return {k: v for k, v in match.groupdict().items() if k != "layer"}


def listed(names: Sequence[str], limit: int = 12) -> str:
    """The first names in order, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + more


def match_torch(rules: Sequence[Rule], names: Sequence[str]) -> Iterator[tuple[str, str, int | None]]:
    """(PyTorch name, our path, layer or None) of every name that a rule knows."""
    compiled = [(rule, _regex(rule.torch)) for rule in rules]
    for name in names:
        for rule, regex in compiled:
            if match := regex.fullmatch(name):
                yield name, rule.path.format(**_fields(match)), int(match["layer"]) if "*" in rule.torch else None


def import_tensors(
    rules: Sequence[Rule | Constant],
    tensors: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    consume: bool = False,
    place: Callable[[np.ndarray], Any] = np.asarray,
) -> dict[str, Any]:
    """A PyTorch state dict as flat variables {'params/encoder/...': array}.

    tensors: name -> array. expected: our path -> shape (what the model needs). consume: take
    each tensor out of `tensors` (a dict) once it is used. place: where each finished array goes,
    one at a time. Raises UnmatchedError naming every tensor left over or missing on either side,
    and every wrong shape or constant; nothing is returned then, nor taken out. The same error names
    tensors that hold NaN or infinity, or no real numbers.
    """
    compiled = [(rule, _regex(rule.torch)) for rule in rules]
    problems, unknown = [], []
    collected: dict[str, dict[int | None, tuple[str, Layout]]] = {}
    for name, tensor in tensors.items():
        found = [(rule, m) for rule, regex in compiled if (m := regex.fullmatch(name))]
        if not found:
            unknown.append(name)
            continue
        if len(found) > 1:
            raise AssertionError(f"{name} matches several rules: {[r.torch for r, _ in found]}")
        (rule, match) = found[0]
        if isinstance(rule, Constant):
            if not _agrees(tensor, rule.value(**_fields(match)), rule.atol):
                problems.append(f"{name} is not the constant that this model computes there")
            continue
        layer = int(match["layer"]) if "*" in rule.torch else None
        collected.setdefault(rule.path.format(**_fields(match)), {})[layer] = (name, rule.layout)
    if unknown:
        problems.append(f"{len(unknown)} tensors of the file are unknown: {listed(unknown)}")
    if missing := [p for p in expected if p not in collected]:
        problems.append(f"{len(missing)} tensors of the model are not in the file: {listed(missing)}")
    if surplus := [p for p in collected if p not in expected]:
        problems.append(f"{len(surplus)} tensors have no place in the model: {listed(surplus)}")
    for path, layers in collected.items():
        if path in expected and (problem := _misfit(path, layers, tensors, expected[path])):
            problems.append(problem)
    if problems:
        raise UnmatchedError("; ".join(problems))
    out, unusable = {}, []
    for path, layers in collected.items():
        arrays = []
        for _, (name, layout) in sorted(layers.items(), key=_layer):
            array = np.asarray(tensors[name])
            if array.dtype.kind != "f" or not (np.isfinite(array.min()) and np.isfinite(array.max())):
                unusable.append(f"{name} ({array.dtype})")
            arrays.append(layout.to_jax(array))
        if not unusable:
            out[path] = place(arrays[0] if None in layers else np.stack(arrays))
        del arrays
        if consume:
            for name, _ in layers.values():
                del tensors[name]
    if unusable:
        raise UnmatchedError(f"{len(unusable)} tensors hold NaN or infinity, or no real numbers: {listed(unusable)}")
    return out


ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Half a unit in the last place, relative, of the dtypes that weights are stored in to save room."""


def _agrees(tensor, value: np.ndarray, atol: float) -> bool:
    """Whether a file's tensor is that value, as its dtype can hold it."""
    rtol = ROUNDING.get(str(getattr(tensor, "dtype", "")), 0.0)
    return tuple(tensor.shape) == value.shape and np.allclose(np.asarray(tensor), value, rtol=rtol, atol=atol)


def _layer(item) -> int:
    return item[0] or 0


def _misfit(path: str, layers: dict, tensors: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    """What is wrong with the tensors found for a path, in words."""
    try:
        found = {
            layout.to_jax(np.broadcast_to(np.float32(0), tensors[name].shape)).shape for name, layout in layers.values()
        }
    except (ValueError, IndexError):  # of another rank
        shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name, _ in layers.values())
        return f"{path} has shape {tuple(shape)} in the model; the file has {shapes}"
    stacked = None not in layers
    if stacked and sorted(layers) != list(range(shape[0])):
        return f"{path} needs layers 0 to {shape[0] - 1}, the file has {sorted(layers)}"
    if len(found) > 1:
        return f"{path}: the file's layers differ in shape"
    (one,) = found
    one = (len(layers), *one) if stacked else one
    return f"{path} has shape {one} in the file, {tuple(shape)} in the model" if one != tuple(shape) else None


def export_tensors(
    rules: Sequence[Rule | Constant],
    variables: dict[str, Any],
    constants: Mapping[str, tuple[str, ...]] = {},
    contiguous: bool = True,
) -> dict[str, np.ndarray]:
    """Flat variables as a PyTorch state dict; the inverse of `import_tensors`. Empties `variables`.

    constants: for each Constant whose pattern has fields, the names to write (patterns
    without fields are always written). contiguous: False gives views, for shapes alone.
    """
    compiled = [(rule, _regex(rule.path)) for rule in rules if isinstance(rule, Rule)]
    out, unknown = {}, []
    finished = np.ascontiguousarray if contiguous else np.asarray
    for path in list(variables):
        value = variables.pop(path)
        found = [(rule, m) for rule, regex in compiled if (m := regex.fullmatch(path))]
        if not found:
            unknown.append(path)
            continue
        array = np.asarray(value)
        for rule, match in found:
            name = rule.torch.format(**_fields(match))
            if "*" in name:
                for layer in range(array.shape[0]):
                    out[name.replace("*", str(layer))] = finished(rule.layout.to_torch(array[layer]))
            else:
                out[name] = finished(rule.layout.to_torch(array))
    if unknown:
        raise UnmatchedError(f"{len(unknown)} tensors of the model have no PyTorch name: {listed(unknown)}")
    for rule in rules:
        if isinstance(rule, Constant):
            names = constants.get(rule.torch, ()) if "{" in rule.torch else (rule.torch,)
            for name in names:
                out[name] = rule.value(**_fields(_regex(rule.torch).fullmatch(name)))
    return out
