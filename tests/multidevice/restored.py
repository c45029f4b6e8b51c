"""Restores a language model's newest checkpoint on a mesh and prints what came as JSON.

python -m tests.multidevice.restored WORKDIR data,fsdp,tensor
"""

import json
import sys
import zlib

import jax
import numpy as np

from quarkaudio_jax.sharding.mesh import make_mesh
from quarkaudio_jax.training.lm_program import LMProgram
from quarkaudio_jax.training.lowering import lower_train_step
from quarkaudio_jax.weights.checkpoint_manager import Checkpoints


def main() -> None:
    """Prints {'step', 'split': share of large parameters that are split, 'digest': of all parameters}."""
    workdir, sizes = sys.argv[1], dict(zip(("data", "fsdp", "tensor"), map(int, sys.argv[2].split(",")), strict=True))
    checkpoints = Checkpoints(workdir)
    step = checkpoints.latest()
    program = LMProgram.configured(checkpoints.info(step).config)
    devices = jax.devices()[: int(np.prod(list(sizes.values())))]
    lowered = lower_train_step(program, make_mesh(sizes, devices))
    state = checkpoints.restore(step, lowered.abstract_state)
    leaves = jax.tree.leaves(state.model.params)
    large = [x for x in leaves if x.size > 20_000]
    split = sum(x.addressable_shards[0].data.size < x.size for x in large) / len(large)
    digest = [zlib.crc32(np.ascontiguousarray(x).tobytes()) for x in leaves]
    print(json.dumps({"step": step, "split": split, "digest": digest}))


if __name__ == "__main__":
    main()
