"""Floating-point operations of a function, counted in its trace."""

import math
from collections.abc import Callable
from typing import Any

import jax


def count_flops(fn: Callable, *args: Any) -> int:
    """Those of all matrix products and convolutions that fn(*args) asks for; args may be shapes.

    A loop of unknown length counts once. What rematerialisation adds is not in it if `fn` has none.
    """
    return _of(jax.make_jaxpr(fn)(*args).jaxpr)


def _of(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, shapes = equation.primitive.name, [getattr(v.aval, "shape", ()) for v in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shapes[0][i] for i in contracted)
    if name == "conv_general_dilated":
        out_features = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shapes[1]) // out_features
    times = equation.params["length"] if name == "scan" else 1
    return times * sum(_of(inner) for inner in _inner(equation.params))


def _inner(params: dict[str, Any]) -> list[Any]:
    """The functions that an equation calls; of branches the first alone."""
    found = []
    for name, value in params.items():
        values = value[:1] if name == "branches" else value if isinstance(value, tuple | list) else [value]
        for one in values:
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns") and name not in ("cond_jaxpr", "jvp_jaxpr_fun", "fwd_jaxpr_thunk"):
                found.append(one)
    return found
