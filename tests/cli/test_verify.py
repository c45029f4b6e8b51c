"""convert verify against a stand-in for the user's checkout: agrees, or names where it parts."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from quarkaudio_jax.codec.variants import HCODEC_16K_TINY, get_variant
from quarkaudio_jax.weights.files import write_tensors
from quarkaudio_jax.weights.upstream import UpstreamError, constructor_arguments, import_upstream, module_location
from tests.parity.codecs import golden_state_dict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("torch", reason="a PyTorch checkout needs PyTorch")
    folder = tmp_path_factory.mktemp("verify")
    write_tensors(folder / "codec.safetensors", golden_state_dict(get_variant("hcodec_16k_tiny")))
    wave = 0.1 * np.random.default_rng(0).standard_normal(30000)
    soundfile.write(folder / "a.wav", wave, 16000)
    return folder


def stand_in(folder, fault: str) -> pathlib.Path:
    checkout = folder / f"checkout_{fault}" / "QuarkAudio-HCodec" / "HCodec-1.0" / "vq"
    checkout.mkdir(parents=True, exist_ok=True)
    (checkout / "__init__.py").touch()
    text = (pathlib.Path(__file__).parent / "standin.py").read_text()
    (checkout / "codec.py").write_text(text.replace('FAULT = ""', f'FAULT = "{fault}"'))
    return checkout.parents[2]


def verify(folder, fault: str, checkout: pathlib.Path | None = None) -> subprocess.CompletedProcess:
    upstream = ["--upstream", checkout or stand_in(folder, fault), "--features", "random", "--seconds", "1"]
    command = ["-m", "quarkaudio_jax.convert", "verify", folder / "codec.safetensors", folder / "a.wav", *upstream]
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)


def test_the_same_model_agrees(folder):
    done = verify(folder, "")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        len(re.findall(r"codes( \(our embedding\))? \|  \| 100.00 %", done.stdout)) == 4 and "FAILS" not in done.stdout
    )
    assert "wave of the same codes" in done.stdout and "semantic embedding" in done.stdout
    assert int(re.search(r"each of (\d+) modules", done.stdout)[1]) > 50
    if importlib.util.find_spec("dac") is None:
        assert "not installed, and not used by inference: dac" in done.stdout


def test_a_fault_is_found_and_named(folder):
    done = verify(folder, "unit")
    assert done.returncode == 1
    assert "semantic embedding |" in done.stdout and "FAILS" in done.stdout
    assert "the first module to differ is semantic_encoder.conv_blocks.0." in done.stderr


def test_a_changed_codebook_alone_is_found_and_named(folder):
    done = verify(folder, "codebook")
    assert done.returncode == 1 and "acoustic codebooks |" in done.stdout
    assert "the first module to differ is quantizer.layers.2._codebook (entry 17), off by" in done.stderr


def test_a_missing_package_is_said_before_weights_are_read(folder):
    checkout = stand_in(folder, "import")
    with pytest.raises(
        UpstreamError, match="needs the package a_package_of_theirs .*install what the checkout requires"
    ):
        import_upstream(checkout, *module_location(HCODEC_16K_TINY))
    done = verify(folder, "import", checkout)
    assert done.returncode == 1 and "a_package_of_theirs" in done.stderr and "took the weights" not in done.stdout


def test_constructors_get_the_arguments_that_they_name():
    """The parameters of the public classes, which a dict by another name would leave without a value."""
    common = {"encoder_kwargs", "decoder_kwargs", "quantizer_kwargs"}
    assert constructor_arguments(get_variant("hcodec_16k_adaptive")).keys() == common | {"adaptive_kwargs"}
    semantic = {"semantic_encoder_kwargs", "semantic_decoder_kwargs"}
    assert constructor_arguments(get_variant("hcodec_48k")).keys() == common | semantic


def test_a_folder_that_is_no_checkout(folder):
    command = ["-m", "quarkaudio_jax.convert", "verify", folder / "codec.safetensors", folder / "a.wav"]
    command += ["--upstream", folder, "--features", "random"]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 1 and "no such file; --upstream should be a checkout" in done.stderr
