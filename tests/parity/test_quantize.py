"""The training quantizer against vector-quantize-pytorch, three steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from quarkaudio_jax.codec.quantize import Codebooks, QuantizerConfig, QuantizerRules, quantize_and_update
from tests.parity import golden

ARRAYS, META = golden.load("vq_train")
CFG = QuantizerConfig(num_codebooks=3, codebook_size=16, dim=32)
RULES = QuantizerRules(rotation_trick=True, dropout=False, revive_below=0.0)


def books() -> Codebooks:
    embed = np.stack([golden.tensor(f"layers.{q}._codebook.embed", (16, 32)) for q in range(3)])
    return Codebooks(jnp.asarray(embed), jnp.ones((3, 16)), jnp.asarray(embed))


def check(got, name):
    np.testing.assert_allclose(got, ARRAYS[name], rtol=0, atol=max(golden.tolerance(META, name), 1e-7), err_msg=name)


def test_initial_books_follow_the_rule():
    np.testing.assert_array_equal(books().embed_KxVxD, ARRAYS["init_embed"])


def test_three_steps():
    state = books()
    for i in range(3):
        x = jnp.asarray(ARRAYS[f"x{i}"])

        def objective(x, state=state):
            out, new = quantize_and_update(CFG, RULES, state, x, jax.random.key(0))
            return (out.quantized_BxTxD * ARRAYS["cotangent"]).sum() + out.commit_loss_K.sum(), (out, new)

        grad, (out, state) = jax.grad(objective, has_aux=True)(x)
        np.testing.assert_array_equal(out.codes_BxTxK, ARRAYS[f"step{i}_codes"])
        check(out.quantized_BxTxD, f"step{i}_quantized")
        check(out.quantized_BxTxD, f"step{i}_grad_quantized")
        check(out.commit_loss_K, f"step{i}_commit_loss")
        check(state.embed_KxVxD, f"step{i}_embed")
        check(state.cluster_size_KxV, f"step{i}_cluster_size")
        check(state.embed_avg_KxVxD, f"step{i}_embed_avg")
        check(grad, f"step{i}_grad_input")


@pytest.mark.parametrize("pad", [1, 5])
def test_padding_enters_neither_losses_nor_statistics(pad):
    x = jnp.asarray(ARRAYS["x0"])
    mask = jnp.pad(jnp.ones(x.shape[:2], bool), ((0, 0), (0, pad)))
    padded = jnp.pad(x, ((0, 0), (0, pad), (0, 0)), constant_values=7.0)
    out, new = quantize_and_update(CFG, RULES, books(), padded, jax.random.key(0), mask)
    check(out.commit_loss_K, "step0_commit_loss")
    check(new.embed_avg_KxVxD, "step0_embed_avg")
    check(new.cluster_size_KxV, "step0_cluster_size")
