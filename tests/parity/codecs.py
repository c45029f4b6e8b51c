"""What the parity tests of the codecs share."""

import jax
import numpy as np

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.hcodec import abstract_variables, export_hcodec
from tests.parity import golden


def zeros_like_abstract(cfg: HCodecConfig):
    """Variables of the right shapes that take no memory."""
    return jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), abstract_variables(cfg))


def golden_state_dict(cfg: HCodecConfig) -> dict[str, np.ndarray]:
    """The PyTorch state dict that the fixtures were made with."""
    shapes = {name: value for name, value in export_hcodec(cfg, zeros_like_abstract(cfg)).items()}
    drawn = {name: golden.tensor(name, value.shape) for name, value in shapes.items()}
    return {name: shapes[name] if value is None else value for name, value in drawn.items()}


def close(got, meta, arrays, name):
    """Compares channel-last `got` with the channels-first array of the fixture."""
    want = arrays[name]
    got = np.asarray(got)
    got = got if want.ndim == 2 else got.swapaxes(1, 2)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=golden.tolerance(meta, name), err_msg=name)


def inputs(arrays):
    return arrays["wav"], arrays["feats"].swapaxes(1, 2)


def stored_codes(cfg, arrays):
    return Codes(*(arrays[f"{s}_codes"].swapaxes(1, 2) for s in ("acoustic", "semantic")), cfg.frame_rate)
