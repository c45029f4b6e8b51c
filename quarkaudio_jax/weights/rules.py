"""Conversion rules between PyTorch state dicts and our variables: rename, transpose, stack.

A rule pairs a pattern of PyTorch names with a pattern of our paths. Fields such as `{i}` match numbers and are carried
over; `*` matches a layer number, which becomes the leading axis of a stacked array. Every tensor on both sides must be
matched exactly once.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np

from quarkaudio_jax.errors import QuarkAudioError


@dataclasses.dataclass(frozen=True)
class Layout:
    """Axis layout of a tensor on both sides; the two functions are inverses."""

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
    """A pattern of PyTorch names, the pattern of our '/'-separated paths, and the axis layout."""

    torch: str
    path: str
    layout: Layout = SAME


@dataclasses.dataclass(frozen=True)
class Constant:
    """A PyTorch buffer that we compute: checked on import, computed on export.

    value: called with the numbers of the pattern's fields. atol: absolute tolerance of the check.
    """

    torch: str
    value: Callable[..., np.ndarray]
    atol: float = 1e-6


class UnmatchedError(QuarkAudioError, ValueError):
    """Tensors on one side without a counterpart on the other."""


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
    """The first names in sorted order, and the number of the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + more


def match_torch(rules: Sequence[Rule], names: Sequence[str]) -> Iterator[tuple[str, str, int | None]]:
    """(PyTorch name, our path, layer or None) of every name that a rule matches."""
    compiled = [(rule, _regex(rule.torch)) for rule in rules]
    for name in names:
        for rule, regex in compiled:
            if match := regex.fullmatch(name):
                yield name, rule.path.format(**_fields(match)), int(match["layer"]) if "*" in rule.torch else None


def import_tensors(
    rules: Sequence[Rule | Constant],
    tensors: MutableMapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    consume: bool = False,
    place: Callable[[np.ndarray], Any] = np.asarray,
) -> dict[str, Any]:
    """Converts a PyTorch state dict into flat variables {'params/encoder/...': array}.

    expected: shapes of the model's variables by path. consume: remove each tensor from `tensors` once it is used. place:
    applied to each finished array, one at a time.

    UnmatchedError names every tensor without a counterpart and every wrong shape or constant, before any tensor is
    consumed; and tensors with NaN or infinity, or of a dtype that is not floating point.
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
            if not _equals(tensor, rule.value(**_fields(match)), rule.atol):
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
    out: dict[str, Any] = {}
    unusable = []
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
"""Relative rounding error (half a ULP) of half-precision dtypes."""


def _equals(tensor, value: np.ndarray, atol: float) -> bool:
    """Whether a tensor equals a value up to the tolerance and the rounding of its dtype."""
    rtol = ROUNDING.get(str(getattr(tensor, "dtype", "")), 0.0)
    return tuple(tensor.shape) == value.shape and np.allclose(np.asarray(tensor), value, rtol=rtol, atol=atol)


def _layer(item) -> int:
    return item[0] or 0


def _misfit(path: str, layers: dict, tensors: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    """Describes a mismatch of shape or layers between the tensors found for a path and the model; None without one."""
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
    """Converts flat variables into a PyTorch state dict, the inverse of `import_tensors`. Empties `variables`.

    constants: names to write for each Constant whose pattern has fields; those without fields are always written.
    contiguous: False returns views, for shapes alone.
    """
    compiled = [(rule, _regex(rule.path)) for rule in rules if isinstance(rule, Rule)]
    out: dict[str, np.ndarray] = {}
    unknown = []
    order: Any = "C" if contiguous else None
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
                    out[name.replace("*", str(layer))] = np.asarray(rule.layout.to_torch(array[layer]), order=order)
            else:
                out[name] = np.asarray(rule.layout.to_torch(array), order=order)
    if unknown:
        raise UnmatchedError(f"{len(unknown)} tensors of the model have no PyTorch name: {listed(unknown)}")
    for constant in (rule for rule in rules if isinstance(rule, Constant)):
        names = constants.get(constant.torch, ()) if "{" in constant.torch else (constant.torch,)
        for name in names:
            fields = _regex(constant.torch).fullmatch(name)
            assert fields is not None, name
            out[name] = constant.value(**_fields(fields))
    return out


def import_params(rules: Sequence[Rule | Constant], tensors: Mapping[str, Any], abstract: Any) -> dict[str, Any]:
    """Nested parameters from a PyTorch state dict; abstract: their shapes. See `import_tensors`."""
    shapes = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(abstract, sep="/").items()}
    return flax.traverse_util.unflatten_dict(import_tensors(rules, dict(tensors), shapes), sep="/")


def export_params(rules: Sequence[Rule | Constant], params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The PyTorch state dict of nested parameters; see `export_tensors`."""
    return export_tensors(rules, flax.traverse_util.flatten_dict(params, sep="/"))
