"""Trains a few steps on a mesh and prints the metrics as JSON; a process of its own sets the device count.

python -m tests.multidevice.losses data,fsdp,tensor [steps]
"""

import json
import sys

import jax
import numpy as np

from quarkaudio_jax.parallel.mesh import batch_sharding, global_batch, make_mesh, on_mesh, replicated, state_shardings
from quarkaudio_jax.schema import from_config_dict
from quarkaudio_jax.training.codec_program import CodecProgram
from tests.conftest import small_config


def main() -> None:
    """Prints {'devices', 'sharded', 'metrics': [{...}, ...]}."""
    import flax.linen as nn

    sizes = dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[1].split(",")), strict=True))
    config = small_config(
        data__batch_size=8, data__crop_seconds=0.3, codec__revive_below=0.1, codec__quantizer_dropout=True
    )
    program = CodecProgram(from_config_dict(config))
    mesh = make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])
    shardings = state_shardings(jax.eval_shape(program.init), mesh)
    state = jax.jit(lambda: nn.meta.unbox(program.init()), out_shardings=shardings)()
    rng = np.random.default_rng(0)
    spec = program.batch_spec(8)
    batches = [{k: 0.1 * rng.standard_normal(s.shape, dtype=np.float32) for k, s in spec.items()} for _ in range(3)]
    batches = [global_batch(b, mesh) for b in batches]
    assert batches[0]["wave"].sharding == batch_sharding(mesh)
    state = jax.jit(on_mesh(program.fit, mesh), out_shardings=shardings)(state, batches[0])
    step = jax.jit(on_mesh(program.train_step, mesh), out_shardings=(shardings, replicated(mesh)))
    metrics = []
    for batch in batches:
        state, values = step(state, batch)
        metrics.append({k: float(v) for k, v in values.items()})
    large = [x for x in jax.tree.leaves(state.model.params) if x.size > 20_000]
    sharded = sum(x.addressable_shards[0].data.size < x.size for x in large) / len(large)
    print(json.dumps({"devices": mesh.size, "sharded": sharded, "metrics": metrics}))


if __name__ == "__main__":
    main()
