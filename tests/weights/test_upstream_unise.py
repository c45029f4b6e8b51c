"""The public UniSE's pipeline in a stand-in for its checkout, and the comparison of ours with it."""

import argparse
import json
import textwrap

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.cli import verify
from quarkaudio_jax.inference.unise import UniseOutput
from quarkaudio_jax.weights.files import write_tensors
from quarkaudio_jax.weights.upstream import UpstreamError
from tests.parity.test_ssl import write_folder

torch = pytest.importorskip("torch", reason="the public code is PyTorch")
pytest.importorskip("transformers", reason="it reads its SSL model with transformers")

FILES = {
    "conf/config.yaml": "stft_config: {hop_length: 320}\nllm_config: {size: 3}\n",
    "model/__init__.py": "",
    "model/model.py": """
        import pytorch_lightning as pl
        import soundfile as sf
        import torch

        from .bicodec import BiCodecTokenizer
        from .llm import LLM_SFT


        class Model(pl.LightningModule):
            def __init__(self):
                raise RuntimeError("downloads")

            def test_step(self, batch, index):
                mode, enroll, src, _, fs, _, names = batch
                states = self.semantic_model(src, output_hidden_states=True).hidden_states
                ids, semantic = self.dnn.generate(mode, len(states), enroll)
                wave = self.tokenizer.detokenize(ids.unsqueeze(1), semantic)
                for suffix in ("_s1", "_s2") if mode == "ss" else ("",):
                    sf.write(self.config["save_enhanced"] + names[0] + suffix, wave.numpy(), samplerate=fs[0])
        """,
    "model/llm.py": """
        import torch


        class LLM_SFT(torch.nn.Module):
            def __init__(self, size):
                super().__init__()
                self.table = torch.nn.Parameter(torch.zeros(size))
                self.register_buffer("inv_freq", torch.ones(1))

            def generate(self, mode, layers, enroll):
                assert layers > 2 and (enroll is None) == (mode != "tse")
                return torch.tensor([[1, 2]]), torch.arange(4)[None] + int(self.table[0])
        """,
    "model/bicodec/__init__.py": "from .tokenizer import BiCodecTokenizer\n",
    "model/bicodec/tokenizer.py": "from .bicodec import BiCodec\n\n\nclass BiCodecTokenizer:\n    pass\n",
    "model/bicodec/bicodec.py": """
        import torch


        class BiCodec(torch.nn.Module):
            @classmethod
            def load_from_checkpoint(cls, folder):
                assert folder.name == "BiCodec"
                return cls()

            def detokenize(self, semantic, ids):
                assert ids.shape == (1, 1, 2)
                return 0.1 * semantic[0].float()
        """,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unise_upstream")
    for name, text in FILES.items():
        path = folder / "checkout" / "QuarkAudio-UniSE" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    write_folder(folder / "wavlm", "hf_wavlm")
    config = json.loads((folder / "wavlm" / "config.json").read_text())
    (folder / "wavlm" / "config.json").write_text(json.dumps({**config, "model_type": "wavlm"}))
    write_tensors(folder / "unise.safetensors", {"dnn.table": np.full(3, 5, np.float32)})
    return folder


def load(folder, weights="unise.safetensors"):
    from quarkaudio_jax.weights.upstream_unise import UpstreamUnise

    return UpstreamUnise(folder / "checkout", folder / weights, folder / "BiCodec", folder / "wavlm")


class Ours:
    """Stands in for a `UniseModel`; fault: added to the last semantic id of extraction."""

    sample_rate = 16000

    def __init__(self, fault=0):
        self._fault, self._outputs = fault, []

    def __call__(self, task, wave, reference=None):
        semantic = np.arange(4)[None] + 5
        semantic[0, -1] += self._fault * (task == "extraction")
        self._outputs.append(UniseOutput(np.array([[1, 2]]), semantic, 0.1 * semantic.astype(np.float32)))
        return self._outputs[-1].wave_BxS[0]

    def separate(self, wave):
        return [self("separation", wave)] * 2

    def recorded(self):
        import contextlib

        self._outputs.clear()
        return contextlib.nullcontext(self._outputs)


ARGS = argparse.Namespace(seconds=0.5, tolerance=1e-3, min_equal=1.0)


def rows(folder, ours, parts=()):
    soundfile.write(folder / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16000)
    return list(verify._compare_unise(ARGS, folder / "a.wav", ours, load(folder), lambda wave, ids: parts))


def test_the_original_runs_with_our_weights_and_agrees(folder):
    found = rows(folder, Ours())
    assert [row.name for row in found if "wave" in row.name] == [
        "restoration: wave",
        "extraction: wave",
        "separation: wave 1",
        "separation: wave 2",
    ]
    assert len(found) == 10 and all(row.holds(1e-6, 1.0) for row in found)


def test_what_differs_is_named(folder, capsys):
    failed = [line for row in rows(folder, Ours(1)) for line in verify._show_row(ARGS, "a.wav", row)]
    assert failed == [
        "a.wav: extraction: semantic ids differs; the first module to differ is the language model",
        "a.wav: extraction: wave differs; the first module to differ is BiCodec",
    ]
    assert "| a.wav | extraction: semantic ids |  | 75.00 % | FAILS |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"dnn.table": (4,)}, "the original does not accept .* size mismatch for table"),
        ({"dnn.table": (3,), "dnn.more": (1,)}, r"which has no \['more'\]"),
        ({"dnn.other": (3,)}, r"lacks \['table'\] of the original"),
    ],
)
def test_other_weights_are_refused(tensors, message, folder):
    write_tensors(folder / "other.safetensors", {k: np.zeros(v, np.float32) for k, v in tensors.items()})
    with pytest.raises(UpstreamError, match=message):
        load(folder, "other.safetensors")
