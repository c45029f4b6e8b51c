"""The comparison with the public code: what its own rounding allows, and how its classes are built."""

import sys

import numpy as np
import pytest

from quarkaudio_jax.codec.variants import HCODEC_48K_TINY
from quarkaudio_jax.io.transforms import resample
from quarkaudio_jax.weights.comparison import Comparison, relative
from quarkaudio_jax.weights.upstream import (
    RecordedModel,
    UpstreamError,
    import_upstream,
    load_upstream,
    module_location,
)
from tests.parity.codecs import zeros_like_abstract

torch = pytest.importorskip("torch", reason="the public code is PyTorch")


@pytest.mark.parametrize(
    "row, agrees",
    [
        (Comparison("embedding", 1e-3), True),
        (Comparison("embedding", 2e-3), False),
        (Comparison("embedding", 8e-2, None, "", 7e-2), True),
        (Comparison("embedding", 8e-2, None, "", 3e-2), False),
        (Comparison("codes", 0.0, 1.0), True),
        (Comparison("codes", 0.01, 0.99), False),
        (Comparison("codes", 0.2, 0.8, "", 0.85), True),
        (Comparison("codes", 0.2, 0.8, "", 0.95), False),
        (Comparison("codebooks", 1e-7, exact=True), False),
    ],
)
def test_a_difference_as_large_as_the_originals_own_is_none(row, agrees):
    assert row.holds(tolerance=1e-3, min_equal=1.0) == agrees


class Stft(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(1920))

    def forward(self, wave):
        return torch.stft(wave, 1920, 960, window=self.window, center=False, return_complex=True)


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stft = Stft()

    def forward(self, wave):
        return self.stft(wave).angle().sin()


def test_rounding_of_the_original_is_seen_where_the_spectrum_is_empty():
    model = torch.nn.ModuleDict({"encoder": Encoder()})
    watched, rng = RecordedModel(model), np.random.default_rng(0)
    full = 0.1 * rng.standard_normal((1, 23040)).astype(np.float32)
    limited = resample(0.1 * rng.standard_normal((7680, 1)).astype(np.float32), 16000, 48000).T[:, :23040]
    for wave, low, high in ((full, 0.0, 1e-2), (limited, 0.5, 2.0)):
        plain = model["encoder"](torch.from_numpy(np.array(wave))).numpy()
        with watched.double_stft():
            exact = watched("encoder", wave).numpy()
        assert low <= relative(exact, plain) <= high
    watched.close()
    assert not model["encoder"].stft._forward_hooks and not model["encoder"].stft._forward_pre_hooks


def test_a_class_may_call_its_arguments_kwargs(tmp_path, monkeypatch):
    folder = tmp_path / "QuarkAudio-HCodec" / "HCodec-2.0" / "vq"
    folder.mkdir(parents=True)
    (folder / "codec.py").write_text(
        "import torch\n\n\n"
        "class Codec(torch.nn.Module):\n"
        "    def __init__(self, encoder_kwargs, quantizer_kwargs):\n"
        "        super().__init__()\n"
        "        self.encoder = torch.nn.Linear(encoder_kwargs['dim'], quantizer_kwargs['num_quantizers'])\n"
        "        self.decoder = torch.nn.Identity()\n"
    )
    for name in ("vq", "vq.codec"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UpstreamError, match="no class accepts the weights.*Codec: Error.* in loading state_dict"):
        load_upstream(
            import_upstream(tmp_path, *module_location(HCODEC_48K_TINY))[0],
            HCODEC_48K_TINY,
            zeros_like_abstract(HCODEC_48K_TINY),
        )
