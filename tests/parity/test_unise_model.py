"""UniSE from waves to waves: small models of the golden rule, cut into segments as the public pipeline does."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.unise import UniseRequest, load_unise
from quarkaudio_jax.lm.backbone import BackboneConfig
from quarkaudio_jax.lm.sampling import Sampling
from quarkaudio_jax.lm.unise import UniseConfig
from quarkaudio_jax.weights.backbone import UNISE_UNUSED
from tests.parity import golden
from tests.parity.models import write_bicodec_folder, write_ssl_folder

pytestmark = pytest.mark.slow

CFG = UniseConfig(BackboneConfig(64, 2, 4, 4, 256), 32, 4096, 64)
SEGMENT = 80000


def save_lm(path):
    """The language model's file, under the names that its trainer writes."""
    sizes, tensors = {512: 64, 2048: 256, 768: 32, 12291: CFG.vocabulary}, {}
    for name, described in golden.manifest("unise_lm")["tensors"].items():
        if not UNISE_UNUSED.fullmatch(name) and not name.startswith(tuple(f"layers.{i}." for i in range(2, 12))):
            tensors[f"dnn.{name}"] = golden.tensor(name, tuple(sizes.get(n, n) for n in described["shape"]))
    save_file(tensors, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unise")
    write_ssl_folder(folder / "wavlm-base-plus", "hf_wavlm")
    write_bicodec_folder(folder / "BiCodec")
    save_lm(folder / "unise.safetensors")
    return folder


def load(folder, **how):
    return load_unise(folder / "unise.safetensors", folder, folder / "wavlm-base-plus", cfg=CFG, **how)


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_a_recording_is_answered_in_segments_of_five_seconds(folder):
    model, wave, voice = load(folder, batch=1), noise(116800), noise(50000, 1)
    padded = np.concatenate([wave, wave[: 2 * SEGMENT - len(wave)]])
    halves = [padded[:SEGMENT], padded[SEGMENT:]]
    want = np.concatenate(
        [model.run_segments(UniseRequest(0), [half / np.abs(wave).max()]).wave_BxS[0] for half in halves]
    )
    np.testing.assert_allclose(model("restoration", wave), want[: len(wave)], atol=2e-3)
    request = model.request("extraction", reference_S=voice)
    want = np.concatenate([model.run_segments(request, [half]).wave_BxS[0] for half in halves])
    np.testing.assert_allclose(model("extraction", wave, reference=(voice, 16000)), want[: len(wave)], atol=2e-3)
    faded = load(folder, batch=1, cross_fade=True)("restoration", wave)
    assert faded.shape == wave.shape and np.isfinite(faded).all()


def test_all_of_it_by_name_from_the_hub(folder, hub):
    parts = {name: (folder / name).read_bytes() for name in ("BiCodec/config.yaml", "BiCodec/model.safetensors")}
    hub.files["org/unise"] = {"ckpt/unise.safetensors": (folder / "unise.safetensors").read_bytes(), "README.md": b""}
    hub.files["org/spark"] = {
        **parts,
        "LLM/model.safetensors": b"another model",
        "README.md": b"---\nlicense: x\n---\n",
    }
    found = load_unise("org/unise", "org/spark:BiCodec", folder / "wavlm-base-plus", cfg=CFG)
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(load(folder).params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "LLM/model.safetensors" not in hub.downloads


def test_what_unise_can_not_do_is_said(folder):
    model = load(folder)
    assert model.tasks == ("restoration", "extraction", "reverse_extraction") and model.sample_rate == 16000
    with pytest.raises(UserError, match="was not trained for lass"):
        model.request("lass", "a dog")
    with pytest.raises(UserError, match="extraction needs a reference recording of the speaker"):
        model.request("extraction")
    with pytest.raises(UserError, match="decodes greedily"):
        model("restoration", noise(100), sampling=Sampling(temperature=1.0))
