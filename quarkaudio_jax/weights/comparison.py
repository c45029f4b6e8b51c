"""Comparison of outputs of our models with those of the public PyTorch code."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from quarkaudio_jax.nn.stack import STACKED, unstack_params
from quarkaudio_jax.weights.rules import Rule, match_torch
from quarkaudio_jax.weights.upstream import first

OWN_OUTPUT = ("qkv", "scale1", "scale2")
"""Parameters that are in a larger module here than in PyTorch, so that the modules' outputs are not comparable."""

SLACK = 2.0
"""Maximum difference, as a multiple of the original's own difference from its float64 result."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison of one output.

    difference: maximum, relative to the largest value. equal: share of equal codes, or None. part: the original's
    module. own: the difference or share of equal codes of the original and its float64 result, for outputs that depend
    on rounding: of the STFT (computed in float64) or of distances (`exact_codes`). exact: must be equal, as both sides
    only look values up. chained: computed from our outputs of the parts before, which may be where it went wrong.
    """

    name: str
    difference: float
    equal: float | None = None
    part: str = ""
    own: float | None = None
    exact: bool = False
    chained: bool = False

    def holds(self, tolerance: float, min_equal: float) -> bool:
        """Whether both sides agree, within the tolerance or within `SLACK` times `own`."""
        if self.exact:
            return self.difference == 0
        if self.equal is None:
            return self.difference <= max(tolerance, SLACK * (self.own or 0.0))
        return self.equal >= min(min_equal, 1 - SLACK * (1 - (1.0 if self.own is None else self.own)))


class RecordedModule:
    """A Flax module with its variables; records the first output of every submodule by path."""

    def __init__(self, module: nn.Module, variables: Mapping[str, Any]):
        self.module, self.variables = module, variables
        self.outputs: dict[str, Any] = {}

    def __call__(self, method: str | Callable[..., Any], *args) -> Any:
        """Calls a method of the module, or a function of the module and the arguments."""
        out, found = self.module.apply(
            self.variables, *args, method=method, capture_intermediates=True, mutable=["intermediates"]
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(found.get("intermediates", {})):
            name = "/".join(str(getattr(k, "key", k)) for k in path if getattr(k, "key", "") != "__call__")
            self.outputs.setdefault(name.rsplit("/[", 1)[0].removesuffix("/0"), leaf)
        return out


def channels_last(x) -> np.ndarray:
    """A tensor (B, C, T) as an array (B, T, C)."""
    return first(x).detach().numpy().swapaxes(1, 2)


def channels_first(x) -> np.ndarray:
    """An array (B, T, C) as (B, C, T)."""
    return np.asarray(x).swapaxes(1, 2)


def relative(ours, theirs) -> float:
    """The largest difference, relative to the largest absolute value of `theirs`."""
    theirs = np.asarray(theirs)
    return float(np.abs(np.asarray(ours) - theirs).max() / max(np.abs(theirs).max(), 1e-9))


def unstacked(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables with the parameters of stacked layers split by layer, as in the original."""
    return {**variables, "params": unstack_params(variables["params"])}


def compare_arrays(name: str, part: str, ours: np.ndarray, theirs: np.ndarray, chained: bool = False) -> Comparison:
    """Compares real values; see `Comparison`."""
    return Comparison(name, relative(ours, theirs), part=part, chained=chained)


def compare_tables(name: str, part: str, ours, theirs) -> Comparison:
    """Compares the rows of a table, which both sides only look up; the part names the row that differs most."""
    off = relative(ours, theirs)
    if off:
        row = int(np.abs(np.asarray(ours) - np.asarray(theirs)).max(-1).argmax())
        part = f"{part} (entry {row}), off by {off:.1e}"
    return Comparison(name, off, part=part, exact=True)


def compare_ids(name: str, part: str, ours: np.ndarray, theirs: np.ndarray, own: float | None = None) -> Comparison:
    """Compares ids of the same shape. own: the original's share of ids that are equal in float64."""
    equal = float((ours == theirs).mean()) if ours.shape == theirs.shape else 0.0
    return Comparison(name, 1 - equal, equal, part, own)


def compare_codes(name: str, part: str, ours, theirs: np.ndarray, own: float | None = None) -> Comparison:
    """Compares codes; the part is the first codebook that differs, after which the residuals differ."""
    same = np.asarray(ours)[:, : theirs.shape[1]] == theirs
    first = next((k for k in range(same.shape[-1]) if not same[..., k].all()), None)
    return Comparison(
        name, 1 - float(same.mean()), float(same.mean()), part if first is None else f"{part}.layers.{first}", own
    )


def module_pairs(rules: Iterable[Rule], names: Iterable[str]) -> dict[str, str]:
    """The original's modules -> ours, of the rules of parameters and the names in the original's state dict."""
    pairs = {}
    for name, path, layer in match_torch(list(rules), list(names)):
        head, _, leaf = path.replace(f"/{STACKED}/", f"/{STACKED}_{layer}/").rpartition("/")
        if leaf not in OWN_OUTPUT:
            pairs[name.rpartition(".")[0]] = head
    return pairs


def with_modules(
    results: list[Comparison], pairs: Mapping[str, str], theirs: Mapping, ours: Mapping, tolerance: float
) -> list[Comparison]:
    """Adds a row for the outputs of all modules, and names the first that differs in the rows where it matters."""
    off = differences(pairs, theirs, ours)
    found = {name: text for name, (difference, text) in off.items() if not difference <= tolerance}
    worst = max((difference for difference, _ in off.values()), default=0.0)
    rows = [*results, Comparison(f"each of {len(off)} modules", worst, part=next(iter(found.values()), ""))]
    return [row if row.exact else dataclasses.replace(row, part=_located(row, found)) for row in rows]


def differences(pairs: Mapping[str, str], theirs: Mapping, ours: Mapping) -> dict[str, tuple[float, str]]:
    """(relative difference, description) of the outputs of each of the original's modules, in order of execution."""
    found = {}
    for name, output in theirs.items():
        mine = ours.get(pairs.get(name, ""))
        if mine is None:
            continue
        mine = _fitted(np.asarray(mine), output.shape)
        if mine is not None:
            off = relative(mine, output)
            found[name] = off, f"{name} (ours: {pairs[name]}), off by {off:.1e}"
    return found


def _fitted(mine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Our output in the original's layout without unused groups; None if the shapes do not match."""
    if mine.ndim == 3:
        for x in (mine, mine.swapaxes(1, 2)):
            cut = x[:, : shape[1], : shape[2]] if len(shape) == 3 else x
            if cut.shape == shape and (x.shape[1] == shape[1] or x.shape[2] == shape[2]):
                return cut
    return mine if mine.shape == shape else None


def _located(row: Comparison, found: Mapping[str, str]) -> str:
    """The first differing module within a row's part of the original; of all, where the row depends on them; else the part."""
    first_of_all = next(iter(found.values()), row.part)
    if row.chained:
        return first_of_all
    within = (text for name, text in found.items() if name == row.part or name.startswith(f"{row.part}."))
    return next(within, first_of_all if row.part.startswith(("quantizer", "semantic_quantizer")) else row.part)
