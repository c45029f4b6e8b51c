"""Where the parameters of every official configuration lie on a mesh; `python -m tests.sharding.shardings` writes them.

One line a parameter, "path shape spec", to tests/fixtures/shardings/NAME.txt.
"""

import importlib
import pathlib

import flax.linen as nn
import jax
from jax.sharding import AbstractMesh

from quarkaudio_jax.compile_report.programs import with_dataset_info
from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.sharding.mesh import AXES, state_shardings
from quarkaudio_jax.training.programs import build_program

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "shardings"
CONFIGS = {
    f"{name}_{variant}": (name, variant)
    for name, variants in {
        "codec48k": ("large", "base"),
        "codec16k": ("large",),
        "codec16k_adaptive": ("large",),
        "lm": ("small", "base", "large", "1b5"),
        "unise": ("full",),
    }.items()
    for variant in variants
}
MESH = AbstractMesh((2, 4, 2), AXES)


def leaves(name: str) -> list[tuple[str, tuple[int, ...], tuple]]:
    """(path, shape, spec) of every trained parameter, discriminators included."""
    file, variant = CONFIGS[name]
    config = from_config_dict(importlib.import_module(f"configs.{file}").get_config(variant))
    boxed = jax.eval_shape(build_program(with_dataset_info(config, "hcodec_48k")).init)
    trained = {"model": boxed.model.params}
    if getattr(boxed.training, "adversary_params", None) is not None:
        trained["adversary"] = boxed.training.adversary_params
    shardings = jax.tree.leaves(state_shardings(trained, MESH))
    flat = jax.tree_util.tree_flatten_with_path(nn.meta.unbox(trained))[0]
    return [
        ("/".join(str(k.key) for k in path), leaf.shape, tuple(sharding.spec))
        for (path, leaf), sharding in zip(flat, shardings, strict=True)
    ]


def text(name: str) -> str:
    """The golden file's text."""
    rows = (f"{path} {'x'.join(map(str, shape))} {','.join(map(str, spec))}" for path, shape, spec in leaves(name))
    return "\n".join(sorted(rows)) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in CONFIGS:
        (FOLDER / f"{name}.txt").write_text(text(name))
        print(name)
