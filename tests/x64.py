"""What `test_x64` computes once with JAX's default of 32 bits and once with JAX_ENABLE_X64=1: `python -m tests.x64 OUT`."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodec
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.config import DatasetInfo, LMModelConfig, LMTrainConfig, from_config_dict
from quarkaudio_jax.inference.codec import Codec
from quarkaudio_jax.lm import model as lm
from quarkaudio_jax.lm.backbone import BackboneConfig
from quarkaudio_jax.lm.generate import Condition, GenerationConfig, generate
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.tokens.tasks import TASKS
from quarkaudio_jax.training.codec_program import CodecProgram
from quarkaudio_jax.training.lm_program import LMProgram
from tests.conftest import small_config

CFG = lm.LMConfig(BackboneConfig(32, 2, 4, 2, 48), (20, 20, 10), feature_dim=6)
FACTS = DatasetInfo(codebooks=(16, 16), feature_width=6, tasks=tuple(TASKS))


def drawn(init, *arguments):
    """Variables of the shapes that `init` gives, drawn by NumPy; AssertionError unless they are float32."""
    shapes, rng = nn.meta.unbox(jax.eval_shape(init, *arguments)), np.random.default_rng(0)
    assert {str(s.dtype) for s in jax.tree.leaves(shapes)} == {"float32"}
    return jax.tree.map(lambda s: (0.05 * rng.standard_normal(s.shape)).astype(np.float32), shapes)


def codec_results():
    """Codes and wave of an adaptive codec."""
    cfg, rng = get_variant("hcodec_16k_adaptive_tiny"), np.random.default_rng(1)
    wave = jax.ShapeDtypeStruct((1, 4 * cfg.frame_hop), jnp.float32)
    features = jax.ShapeDtypeStruct((1, 4 * cfg.semantic.stride, cfg.semantic.feature_dim), jnp.float32)
    codec = Codec(cfg, drawn(HCodec(cfg).init, jax.random.key(0), wave, features), Extractor(get_recipe("mel")))
    samples = 0.1 * rng.standard_normal((2, 7 * cfg.frame_hop + 5)).astype(np.float32)
    codes = codec.encode(samples, lengths=[samples.shape[1], samples.shape[1] // 2])
    found = {name: value for name, value in vars(codes).items() if value is not None}
    return {**found, "wave": codec.decode(codes).samples_BxS}


def lm_results():
    """What a language model generates."""
    model, rng = lm.LanguageModel(CFG), np.random.default_rng(2)
    shapes = {"kind": (), "value": (), "codes": (3,), "features": (6,), "segment": (), "position": ()}
    batch = {n: np.zeros((1, 30, *s), np.float32 if n == "features" else np.int32) for n, s in shapes.items()}
    params = jax.tree.map(lambda x: 10 * x, drawn(model.init, jax.random.key(0), batch)["params"])
    prefix = jnp.asarray(rng.standard_normal((2, 5, 32)), jnp.float32)
    keys = jnp.stack([jax.random.key(s) for s in (3, 4)])
    condition = Condition(prefix, jnp.array([5, 3], jnp.int32), jnp.array([6, 4], jnp.int32), keys)
    cfg = GenerationConfig(Sampling(0.8, top_k=5, top_p=0.9))
    codes, lengths, _ = jax.jit(lambda params: generate(model, params, condition, 6, cfg))(params)
    return {"generated": codes, "generated_lengths": lengths}


def steps_keep_dtypes():
    """A step of every program gives a state of the shapes and dtypes that it took, and float32 metrics."""
    for program in (
        CodecProgram(from_config_dict(small_config(ema_decay=0.9, losses__perceptual=1.0))),
        LMProgram(LMTrainConfig(lm=LMModelConfig(size="tiny"), dataset=FACTS)),
    ):
        state, batch = nn.meta.unbox(jax.eval_shape(program.init)), program.batch_spec(2)
        assert {str(s.dtype) for s in jax.tree.leaves(state)} <= {"float32", "int32"}
        after, metrics = jax.eval_shape(program.train_step, jax.eval_shape(program.init_codebooks, state, batch), batch)
        assert jax.tree.map(lambda s: (s.shape, s.dtype), after) == jax.tree.map(lambda s: (s.shape, s.dtype), state)
        assert {str(s.dtype) for s in jax.tree.leaves(metrics)} == {"float32"}


def results() -> dict[str, np.ndarray]:
    """Everything, by name."""
    steps_keep_dtypes()
    found = codec_results() | lm_results()
    return {name: np.asarray(value) for name, value in found.items()}


if __name__ == "__main__":
    assert jax.config.jax_enable_x64
    np.savez(sys.argv[1], **results())
