"""Trains a few steps on a mesh and prints the metrics as JSON; a process of its own sets the device count.

python -m tests.multidevice.losses codec|lm|options data,fsdp,tensor

Of the language model, also with its options, what it generates is printed too.
"""

import functools
import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.config import DatasetInfo, from_config_dict
from quarkaudio_jax.configs.lm import get_config
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.sharding.mesh import batch_sharding, global_batch, make_mesh, on_mesh, replicated, state_shardings
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.lm_program import LMProgram
from tests.conftest import changed, small_config

ROWS = 8


def codec_program() -> CodecProgram:
    """The tiny GAN."""
    config = small_config(
        data__batch_size=ROWS, data__crop_seconds=0.3, codec__revive_below=0.1, codec__quantizer_dropout=True
    )
    return CodecProgram(from_config_dict(config))


OPTIONS = dict(
    lm__aligned_rate=1.0,
    lm__bidirectional_prefix=True,
    lm__encoder_layers=1,
    lm__feature_mask=0.2,
    lm__ar_codebooks=(2, 0),
    lm__fill_layers=1,
)


def lm_program(**options) -> LMProgram:
    """The tiny language model, on codes of three codebooks."""
    config = changed(get_config("tiny"), data__batch_size=ROWS, data__length=64)
    config = changed(config, lm__dropout=0.1, lm__attention_dropout=0.1, **options)
    dataset = dict(codebooks=(32, 32, 16), feature_width=12, tasks=("restoration",))
    config = from_config_dict(config)
    return LMProgram(type(config)(**{**vars(config), "dataset": DatasetInfo(**dataset)}))


def waves(program: CodecProgram, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A batch for the codec."""
    return {k: 0.1 * rng.standard_normal(s.shape, dtype=np.float32) for k, s in program.batch_spec(ROWS).items()}


def rows(program: LMProgram, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A batch for the language model: rows of a task, a start, 20 source frames, 20 of codes and the delay padding."""
    batch = {k: np.zeros(s.shape, s.dtype) for k, s in program.batch_spec(ROWS).items()}
    tail = program.lm_cfg.delay_padding
    kinds = [Kind.TASK, Kind.SOURCE_START, *[Kind.SOURCE] * 20, *[Kind.CODES] * 20, *[Kind.DELAY_PADDING] * tail]
    count = len(kinds)
    batch["kind"][:, :count], batch["segment"][:, :count] = kinds, 1
    batch["position"][:, :count] = np.arange(count)
    batch["features"][:] = rng.standard_normal(batch["features"].shape)
    batch["codes"][:] = rng.integers(0, 16, batch["codes"].shape)
    return batch


def generated(program: LMProgram, params, mesh) -> list:
    """Greedy codes of eight requests, on the mesh."""
    model = program.model
    prefix = jax.random.normal(jax.random.key(3), (ROWS, 10, model.cfg.backbone.dim))
    lengths = jnp.asarray([10, 7, 10, 3, 9, 10, 5, 8])
    keys = jax.random.split(jax.random.key(4), ROWS)
    condition = Condition(prefix, lengths, jnp.full(ROWS, 6), keys, sources_B=jnp.full(ROWS, 2))
    condition = jax.device_put(condition, batch_sharding(mesh))
    cfg = GenerationConfig(Sampling(temperature=0.0))
    run = jax.jit(on_mesh(functools.partial(generate.__wrapped__, model, frames=6, cfg=cfg), mesh))
    return np.asarray(run(params, condition)[0]).tolist()


def main() -> None:
    """Prints {'devices', 'sharded', 'metrics': [{...}, ...], 'codes'}."""
    kind, sizes = sys.argv[1], dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[2].split(",")), strict=True))
    options = OPTIONS if kind == "options" else {}
    program, make = (codec_program(), waves) if kind == "codec" else (lm_program(**options), rows)
    mesh = make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])
    shardings = state_shardings(jax.eval_shape(program.init), mesh)
    state = jax.jit(lambda: nn.meta.unbox(program.init()), out_shardings=shardings)()
    rng = np.random.default_rng(0)
    batches = [global_batch(make(program, rng), mesh) for _ in range(3)]
    assert all(x.sharding == batch_sharding(mesh) for x in batches[0].values())
    state = jax.jit(on_mesh(program.init_codebooks, mesh), out_shardings=shardings)(state, batches[0])
    step = jax.jit(on_mesh(program.train_step, mesh), out_shardings=(shardings, replicated(mesh)))
    metrics = []
    for batch in batches:
        state, values = step(state, batch)
        metrics.append({k: float(v) for k, v in values.items()})
    large = [x for x in jax.tree.leaves(state.model.params) if x.size > 20_000]
    sharded = sum(x.addressable_shards[0].data.size < x.size for x in large) / len(large)
    codes = generated(program, state.model.params, mesh) if kind != "codec" else None
    print(json.dumps({"devices": mesh.size, "sharded": sharded, "metrics": metrics, "codes": codes}))


if __name__ == "__main__":
    main()
