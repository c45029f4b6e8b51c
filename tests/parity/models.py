"""Folders of small published models with the weights of the golden rule."""

import jax
import numpy as np
from safetensors.numpy import save_file

from quarkaudio_jax.weights.bicodec import abstract_params, config_from_yaml, export_bicodec
from tests.parity import golden
from tests.parity.test_bicodec import config_text, tensor
from tests.parity.test_ssl import write_folder as write_ssl_folder

__all__ = ["write_bicodec_folder", "write_ssl_folder"]


def write_bicodec_folder(folder):
    """BiCodec of reduced width with 32 global tokens, which UniSE needs, and features as wide as the golden SSL model."""
    _, meta = golden.load("bicodec")
    width = golden.load("hf_wav2vec2_stable17")[1]["config"]["hidden_size"]
    config = {**meta["config"], "speaker_encoder": {**meta["config"]["speaker_encoder"], "token_num": 32}}
    config["encoder"] = {**config["encoder"], "input_channels": width}
    cfg = config_from_yaml(config_text(config))
    empty = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), abstract_params(cfg))
    folder.mkdir()
    (folder / "config.yaml").write_text(config_text(config))
    state = {name: tensor(name, value) for name, value in export_bicodec(cfg, empty).items()}
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, folder / "model.safetensors")
