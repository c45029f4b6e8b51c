"""UniSE against the public PyTorch code, with the weights of the golden rule."""

import functools

import jax
import numpy as np
import pytest

from quarkaudio_jax.lm.backbone import BackboneConfig
from quarkaudio_jax.lm.objective import smoothed_kl
from quarkaudio_jax.lm.unise import GLOBAL_START, LM_UNISE, SEMANTIC_START, SPECIAL, Unise, UniseConfig
from quarkaudio_jax.weights.backbone import UNISE_UNUSED, import_unise, read_unise
from quarkaudio_jax.weights.files import WeightFileError
from tests.parity import golden

SMALL = UniseConfig(BackboneConfig(64, 2, 4, 4, 256), 48, 32, 64)
TASK = {"se": 0, "tse": 1}


def small_tensors():
    """The manifest's names at the fixture's size."""
    sizes = {512: 64, 2048: 256, 768: 48, 12291: 99}
    out = {}
    for name, tensor in golden.manifest("unise_lm")["tensors"].items():
        if not UNISE_UNUSED.fullmatch(name) and not name.startswith(tuple(f"layers.{i}." for i in range(2, 12))):
            out[name] = golden.tensor(name, tuple(sizes.get(n, n) for n in tensor["shape"]))
    return out


@pytest.fixture(scope="module")
def model():
    arrays, meta = golden.load("unise_lm")
    return {"params": import_unise(SMALL, small_tensors())}, arrays, meta["outputs"]


def condition(variables, arrays, case):
    enrolment = arrays["enroll_feats"] if case == "tse" else None
    task = np.full(2, TASK[case])
    return call("prefix", variables, task, arrays["mix_feats"], enrolment)


def call(method, variables, *inputs):
    """A method of the model, compiled."""
    return jax.jit(functools.partial(Unise(SMALL).apply, method=method))(variables, *inputs)


@pytest.mark.parametrize("case", TASK)
def test_loss_logits_and_accuracy(model, case):
    variables, arrays, outputs = model
    prefix = condition(variables, arrays, case)
    ids = arrays["global_ids"], arrays["semantic_ids"]
    loss, accuracy, logits = call("loss", variables, prefix, *ids)
    for name, got in (("loss", loss), ("acc", accuracy), ("logits", logits)):
        allowed = max(10 * outputs[f"{case}_{name}"]["max_abs_diff_f32_f64"], 1e-6)
        np.testing.assert_allclose(np.asarray(got), arrays[f"{case}_{name}"], atol=allowed, rtol=0)


@pytest.mark.parametrize("case", TASK)
def test_greedy_ids(model, case):
    variables, arrays, outputs = model
    prefix = condition(variables, arrays, case)
    frames = arrays["mix_feats"].shape[1]
    generate = jax.jit(lambda v, p: Unise(SMALL).apply(v, p, frames, method="generate"))
    found, semantics = generate(variables, prefix)
    np.testing.assert_array_equal(np.asarray(found), arrays[f"{case}_gen_global"])
    np.testing.assert_array_equal(np.asarray(semantics), arrays[f"{case}_gen_semantic"])
    loss, accuracy, _ = call("loss", variables, prefix, found, semantics)
    for name, got in (("self_loss", loss), ("self_acc", accuracy)):
        allowed = max(10 * outputs[f"{case}_{name}"]["max_abs_diff_f32_f64"], 1e-6)
        np.testing.assert_allclose(np.asarray(got), arrays[f"{case}_{name}"], atol=allowed, rtol=0)


def test_loss_without_a_condition(model):
    """As its parent class is pre-trained, on ids alone; nothing follows the last of them."""
    variables, arrays, outputs = model
    ones = np.ones((2, 1), np.int32)
    first, second = arrays["global_ids"] + SPECIAL, arrays["semantic_ids"] + SPECIAL + SMALL.global_size
    ids = np.concatenate([GLOBAL_START * ones, first, SEMANTIC_START * ones, second], axis=1)
    logits = call("logits", variables, np.zeros((2, 0, 64), np.float32), ids[:, :-1])
    for name, got in (
        ("loss", smoothed_kl(logits, ids[:, 1:], 0.1).mean()),
        ("acc", (logits.argmax(-1) == ids[:, 1:]).mean()),
    ):
        allowed = max(10 * outputs[f"base_nocond_{name}"]["max_abs_diff_f32_f64"], 1e-6)
        np.testing.assert_allclose(np.asarray(got), arrays[f"base_nocond_{name}"], atol=allowed, rtol=0)


def test_a_file_is_read(model, tmp_path):
    """A Lightning checkpoint, as published; one of another size, or that is something else, is refused."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "unise.ckpt"
    torch.save({"state_dict": {f"model.{k}": torch.from_numpy(v) for k, v in small_tensors().items()}}, path)
    params = read_unise(path, SMALL)
    jax.tree.map(np.testing.assert_array_equal, params, model[0]["params"])
    with pytest.raises(WeightFileError, match="unise.ckpt is not UniSE.*words has shape"):
        read_unise(path)
    torch.save({"some.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightFileError, match="unise.ckpt is not UniSE.*some.weight"):
        read_unise(path)


def test_the_published_size_maps_one_to_one():
    tensors = {
        name: np.broadcast_to(np.float32(0), tensor["shape"])
        for name, tensor in golden.manifest("unise_lm")["tensors"].items()
    }
    params = jax.eval_shape(lambda: import_unise(LM_UNISE, tensors))
    used = sum(np.prod(t.shape) for name, t in tensors.items() if not UNISE_UNUSED.fullmatch(name))
    assert sum(x.size for x in jax.tree.leaves(params)) == used
