"""Floating-point operations of a function, counted in its trace."""

import math
from collections.abc import Callable
from typing import Any

import jax

from quarkaudio_jax.nn.causal import AGAIN


def count_flops(fn: Callable, *args: Any) -> int:
    """Those of all matrix products and convolutions that fn(*args) asks for; args may be shapes.

    A loop of unknown length counts once, of branches the costliest, but of those for different platforms the one for all
    others: the plain way. Zeros that spread an input out (gradients of strided convolutions) are no operands. What a
    checkpoint in `fn` works out again counts again; what attention and the language model's loss do (in the scope
    `AGAIN`) does not.
    """
    return _of(jax.make_jaxpr(fn)(*args).jaxpr)


def _of(jaxpr: Any) -> int:
    return sum(_of_equation(e) for e in jaxpr.eqns if AGAIN not in str(e.source_info.name_stack))


def _of_equation(equation: Any) -> int:
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
            return _of(equation.params["branches"][platforms.index(None)].jaxpr)
        return max(_of(branch.jaxpr) for branch in equation.params["branches"])
    times = equation.params["length"] if name == "scan" else 1
    return times * sum(_of(inner) for inner in _called(equation.params))


def _called(params: dict[str, Any]) -> list[Any]:
    """The functions that an equation calls, but for a loop's condition."""
    values = [value for name, value in params.items() if name != "cond_jaxpr"]
    flat = [one for value in values for one in (value if isinstance(value, tuple | list) else [value])]
    found = [getattr(one, "jaxpr", one) for one in flat]
    return [one for one in found if hasattr(one, "eqns")]
