"""The golden figures, and the rule that regenerates their weights.

The figures were made once with the public PyTorch code (see tests/fixtures/README.md).
"""

import json
import pathlib
import re
import zlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


def load(case: str) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and description of a case."""
    with np.load(FIXTURES / f"{case}.npz") as arrays:
        return dict(arrays), json.loads((FIXTURES / f"{case}.json").read_text())


def manifest(name: str) -> dict:
    """Names and shapes of a full-size model."""
    return json.loads((FIXTURES.parents[1] / "third_party" / "manifests" / f"{name}.json").read_text())


def normal(name: str, shape) -> np.ndarray:
    """Float32 normals from a Philox generator keyed by the CRC-32 of the name."""
    key = zlib.crc32(name.encode())
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(tuple(shape), dtype=np.float32)


def tensor(name: str, shape) -> np.ndarray | None:
    """The value of a state-dict entry, None where the model's own constant stays."""
    leaf, f32, shape = name.rsplit(".", 1)[-1], np.float32, tuple(shape)
    if leaf in ("window", "inv_freq") or name.endswith("lowpass.dw.weight"):
        return None
    if leaf in ("cluster_size", "initted"):
        return np.ones(shape, f32)
    if leaf in ("embed", "embed_avg"):
        layer = int(re.search(r"layers\.(\d+)\._codebook", name)[1])
        return normal(name.removesuffix("_avg"), shape) * f32(0.5 * 0.7**layer)
    x = normal(name, shape)
    if leaf in ("weight_g", "original0", "running_var"):
        return np.abs(f32(1) + f32(0.1) * x)
    if leaf.startswith("bias") or leaf == "running_mean":
        return f32(0.02) * x
    if len(shape) >= 2:
        return x / f32(np.sqrt(np.prod(shape[1:])))
    if leaf in ("weight", "gamma", "scale"):
        return f32(1) + f32(0.1) * x
    return f32(0.1) * x


def tolerance(meta: dict, output: str) -> float:
    """Ten times the stated distance between float32 and float64."""
    return 10 * meta["outputs"][output]["max_abs_diff_f32_f64"]
