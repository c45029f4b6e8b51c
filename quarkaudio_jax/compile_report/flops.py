"""FLOPs of a function, counted in its jaxpr."""

import math
from collections.abc import Callable
from typing import Any

import jax

from quarkaudio_jax.nn.causal import RECOMPUTE_SCOPE


def count_flops(fn: Callable, *args: Any) -> int:
    """FLOPs of all matrix products and convolutions of fn(*args); args may be ShapeDtypeStructs.

    A while loop counts once. A conditional counts as its costliest branch, a platform-dependent one as its default
    branch. Zeros of a dilated input (gradients of strided convolutions) do not count. Recomputation by jax.checkpoint
    counts; recomputation in attention and in the language model's loss (in the scope `RECOMPUTE_SCOPE`) does not.
    """
    return _jaxpr_flops(jax.make_jaxpr(fn)(*args).jaxpr)


def _jaxpr_flops(jaxpr: Any) -> int:
    return sum(_equation_flops(e) for e in jaxpr.eqns if RECOMPUTE_SCOPE not in str(e.source_info.name_stack))


def _equation_flops(equation: Any) -> int:
    name, shapes = equation.primitive.name, [getattr(v.aval, "shape", ()) for v in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shapes[0][i] for i in contracted)
    if name == "conv_general_dilated":
        out_features = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
        spread = math.prod(equation.params["lhs_dilation"])
        return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shapes[1]) // (out_features * spread)
    if name == "cond":
        platforms = equation.params.get("branches_platforms")
        if platforms and None in platforms:
            return _jaxpr_flops(equation.params["branches"][platforms.index(None)].jaxpr)
        return max(_jaxpr_flops(branch.jaxpr) for branch in equation.params["branches"])
    times = equation.params["length"] if name == "scan" else 1
    return times * sum(_jaxpr_flops(inner) for inner in _called_jaxprs(equation.params))


def _called_jaxprs(params: dict[str, Any]) -> list[Any]:
    """The jaxprs that an equation calls, without the condition of a loop."""
    values = [value for name, value in params.items() if name != "cond_jaxpr"]
    flat = [one for value in values for one in (value if isinstance(value, tuple | list) else [value])]
    found = [getattr(one, "jaxpr", one) for one in flat]
    return [one for one in found if hasattr(one, "eqns")]
