"""BiCodec against the public PyTorch code, with the weights of the golden rule."""

import jax
import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from quarkaudio_jax.codec.bicodec.model import BICODEC, BiCodec, mel_frames
from quarkaudio_jax.nn.stack import unstack_params
from quarkaudio_jax.weights.bicodec import (
    MEL_FILTERS,
    MEL_WINDOW,
    abstract_params,
    config_from_yaml,
    config_to_yaml,
    export_bicodec,
    import_bicodec,
)
from quarkaudio_jax.weights.files import WeightFileError
from quarkaudio_jax.weights.rules import UnmatchedError
from quarkaudio_jax.weights.saved_bicodec import read_bicodec, write_bicodec
from tests.parity import golden


def config_text(config) -> str:
    return yaml.safe_dump({"audio_tokenizer": config})


def tensor(name: str, constant: np.ndarray) -> np.ndarray:
    """The golden rule, with what the fixture's description says of this model; constant: what the model computes."""
    shape, leaf = constant.shape, name.rsplit(".", 1)[-1]
    if name in (MEL_WINDOW, MEL_FILTERS):
        return constant
    if leaf == "alpha":
        return np.abs(1 + np.float32(0.1) * golden.normal(name, shape))
    if leaf == "latents" or name.endswith("codebook.weight"):
        return golden.normal(name, shape)
    value = golden.tensor(name, shape)
    if value is None or not shape:
        return constant
    return value / np.float32(20) if name == "decoder.model.6.weight_g" else value


def golden_model():
    """(configuration, state dict, golden arrays and their description) of reduced width."""
    arrays, meta = golden.load("bicodec")
    cfg = config_from_yaml(config_text(meta["config"]))
    abstract = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), abstract_params(cfg))
    tensors = {name: tensor(name, value) for name, value in export_bicodec(cfg, abstract).items()}
    return cfg, tensors, arrays, meta


@pytest.fixture(scope="module")
def model():
    return golden_model()


@pytest.fixture(scope="module")
def applied(model):
    """Calls a method of the model, compiled."""
    cfg, tensors, _, _ = model
    variables = {"params": unstack_params(import_bicodec(cfg, tensors))}
    module = BiCodec(cfg, scan=False)
    return lambda method, *args: jax.jit(lambda v, *a: module.apply(v, *a, method=method))(variables, *args)


def close(meta, name, got, want):
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=golden.tolerance(meta, name))


def test_tokens_are_equal(model, applied):
    _, _, arrays, _ = model
    globals_BxN, semantic = applied("encode", arrays["features"], arrays["reference"])
    np.testing.assert_array_equal(semantic, arrays["semantic"])
    np.testing.assert_array_equal(globals_BxN, arrays["globals"])


@pytest.mark.slow
def test_every_part(model, applied):
    cfg, _, arrays, meta = model
    close(meta, "mel", mel_frames(cfg, arrays["reference"]), arrays["mel"])
    close(meta, "encoder", applied(lambda m, x: m.encoder(x), arrays["features"]), arrays["encoder"])
    frames, voice = applied("latents", arrays["globals"], arrays["semantic"])
    close(meta, "voice", voice, arrays["voice"])
    close(meta, "prenet", frames, arrays["prenet"])
    _, predicted, x_vector = applied("all_outputs", arrays["features"], arrays["reference"])
    close(meta, "postnet", predicted, arrays["postnet"])
    close(meta, "x_vector", x_vector, arrays["x_vector"])


def test_waves_agree(model, applied):
    _, _, arrays, meta = model
    close(meta, "wave", applied("decode", arrays["globals"], arrays["semantic"]), arrays["wave"])


@pytest.mark.slow
def test_a_padded_batch_gives_what_its_items_give(model, applied):
    cfg, _, arrays, meta = model
    lengths = np.asarray([20, 13])
    mask = np.arange(20) < lengths[:, None]
    semantic = np.where(mask, arrays["semantic"], 7)
    wave = np.asarray(applied("decode", arrays["globals"], semantic, mask))
    _, codes = applied("encode", np.where(mask[..., None], arrays["features"], 1.0), arrays["reference"], mask)
    alone = np.asarray(applied("decode", arrays["globals"][1:], arrays["semantic"][1:, :13]))
    close(meta, "wave", wave[1, : 13 * cfg.hop], alone[0])
    _, one = applied("encode", arrays["features"][1:, :13], arrays["reference"][1:])
    np.testing.assert_array_equal(codes[1, :13], one[0])


@pytest.mark.slow
def test_weights_go_both_ways(model):
    cfg, tensors, _, _ = model
    params = import_bicodec(cfg, tensors)
    exported = export_bicodec(cfg, params)
    assert {k: v.shape for k, v in exported.items()} == {k: v.shape for k, v in tensors.items()}
    jax.tree.map(np.testing.assert_array_equal, import_bicodec(cfg, exported), params)
    with pytest.raises(UnmatchedError, match=r"prenet\.extra"):
        import_bicodec(cfg, {**tensors, "prenet.extra": np.zeros(3, np.float32)})
    with pytest.raises(UnmatchedError, match=rf"{MEL_FILTERS} is not the constant"):
        import_bicodec(cfg, {**tensors, MEL_FILTERS: tensors[MEL_FILTERS] * 1.01})
    with pytest.raises(UnmatchedError, match="speaker/resampler/latents"):
        import_bicodec(cfg, {k: v for k, v in tensors.items() if not k.endswith("latents")})


@pytest.mark.slow
def test_the_published_size_maps_one_to_one():
    manifest = golden.manifest("bicodec")
    assert config_from_yaml(config_text(manifest["config"])) == BICODEC
    computed = {MEL_WINDOW, MEL_FILTERS}
    assert computed < set(manifest["tensors"])
    shapes = {k: v["shape"] for k, v in manifest["tensors"].items() if k not in computed}
    tensors = {k: np.broadcast_to(np.float32(1), shape) for k, shape in shapes.items()}
    written = yaml.safe_load(config_to_yaml(BICODEC))["audio_tokenizer"]
    assert written.items() >= {k: v for k, v in manifest["config"].items() if k != "postnet"}.items()
    assert written["postnet"].items() >= manifest["config"]["postnet"].items()
    params = jax.eval_shape(lambda: import_bicodec(BICODEC, tensors))
    norms = sum(np.prod(v["shape"]) for k, v in manifest["tensors"].items() if k.endswith("weight_g"))
    statistics = sum(np.prod(v["shape"]) for k, v in manifest["tensors"].items() if ".running_" in k)
    assert sum(x.size for x in jax.tree.leaves(params)) == manifest["total_params"] - norms + statistics


def test_a_folder_is_read(model, tmp_path):
    cfg, tensors, _, meta = model
    folder = tmp_path / "BiCodec"
    folder.mkdir()
    with pytest.raises(WeightFileError, match=r"config\.yaml can't be read"):
        read_bicodec(tmp_path)
    (folder / "config.yaml").write_text(config_text(meta["config"]))
    save_file(tensors, folder / "model.safetensors")
    found, params = read_bicodec(tmp_path)
    assert found == cfg
    jax.tree.map(np.testing.assert_array_equal, params, import_bicodec(cfg, tensors))
    written, again = read_bicodec(write_bicodec(tmp_path / "again", cfg, params))
    assert written == cfg
    jax.tree.map(np.testing.assert_array_equal, again, params)


@pytest.mark.parametrize(
    "part, field, value",
    [("prenet", "sample_ratios", [2, 2]), ("postnet", "use_tanh_at_final", True), ("mel_params", "mel_fmax", 7000)],
)
def test_what_the_model_does_not_have_is_refused(part, field, value):
    config = golden.manifest("bicodec")["config"]
    config[part][field] = value
    with pytest.raises(WeightFileError, match=f"{part}.{field} is"):
        config_from_yaml(config_text(config))
    with pytest.raises(WeightFileError, match="not the configuration of BiCodec"):
        config_from_yaml("a: [1, 2")
