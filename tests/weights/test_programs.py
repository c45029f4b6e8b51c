"""Exported programs run without this package, and give what it gives."""

import json
import os

import jax
import numpy as np
import pytest

from quarkaudio_jax.cli import convert
from quarkaudio_jax.codec.hcodec import HCodec
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.nn import fourier
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.files import read_tensors, write_tensors
from quarkaudio_jax.weights.saved_codec import read_codec
from tests.parity.codecs import golden_state_dict

VARIANTS = ["hcodec_16k_tiny", "hcodec_16k_adaptive_tiny", "hcodec_48k_tiny"]
SECONDS = 1


@pytest.fixture(scope="module", params=VARIANTS)
def run(request, tmp_path_factory):
    """The folder of a converted codec."""
    folder = tmp_path_factory.mktemp(request.param)
    write_tensors(folder / "in.safetensors", golden_state_dict(get_variant(request.param)))
    convert.main(["quarkaudio convert", "import", str(folder / "in.safetensors"), "--output", str(folder / "run")])
    return folder / "run"


def export(run, name, folder):
    arguments = ["export", run, "--format", name, "--seconds", SECONDS, "--output", folder]
    convert.main(["quarkaudio convert", *map(str, arguments)])
    return json.loads((folder / "program.json").read_text())


def inputs(about, batch):
    """Noise for `encode`."""
    rng, specs = np.random.default_rng(batch), about["programs"]["encode"]["inputs"]
    wave, features = (
        rng.standard_normal((batch, *specs[name]["shape"][1:]), dtype=np.float32) for name in ("wave", "features")
    )
    return 0.1 * wave, features


class Ours:
    """The codec run by this package: codes as a tuple of streams, and waves."""

    def __init__(self, run):
        self.cfg, self._variables, _ = read_codec(run)
        self._codec = HCodec(self.cfg)

    def encode(self, wave, features):
        codes = self._codec.apply(self._variables, wave, features, method="encode")
        return [
            np.asarray(x) for x in (codes.acoustic_BxTxK, codes.semantic_BxTxK, codes.durations_BxT) if x is not None
        ]

    def decode(self, acoustic, semantic, durations=None):
        codes = Codes(acoustic, semantic, self.cfg.frame_rate, None, durations)
        return self._codec.apply(self._variables, codes, acoustic.shape[1], method="decode")


def check(ours, about, batch, encode, decode):
    wave, features = inputs(about, batch)
    codes, expected = encode(wave, features), ours.encode(wave, features)
    assert len(codes) == len(expected) == len(about["programs"]["encode"]["outputs"])
    for one, other in zip(codes, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    (out,) = decode(*codes)
    np.testing.assert_allclose(out, ours.decode(*expected), atol=1e-5)


@pytest.mark.slow
def test_stablehlo(run, tmp_path):
    about = export(run, "stablehlo", tmp_path / "out")
    assert about["jax"] == jax.__version__ and about["expires"].startswith("6 months")
    ours, stored = Ours(run), read_tensors(tmp_path / "out" / "weights.safetensors")
    weights = [stored[name] for name in about["weights"]]

    def by_jax(name):
        program = jax.export.deserialize((tmp_path / "out" / f"{name}.bin").read_bytes())
        return lambda *arrays: program.call(weights, *arrays)

    for batch in (1, 3):
        check(ours, about, batch, by_jax("encode"), by_jax("decode"))

    def by_xla(name):
        """As docs/weights.md describes it."""
        from jax.extend.backend import get_backend
        from jaxlib.xla_client import CompileOptions

        bytecode = (tmp_path / "out" / f"{name}.mlirbc").read_bytes()
        program = get_backend().compile_and_load(bytecode, jax.devices()[:1], CompileOptions())

        def call(*arrays):
            out = program.execute_sharded(jax.device_put([*weights, *arrays]))
            return [np.asarray(shards[0]) for shards in out.disassemble_into_single_device_arrays()]

        return call

    check(ours, about, 1, by_xla("encode"), by_xla("decode"))


@pytest.mark.slow
def test_onnx(run, tmp_path):
    pytest.importorskip("jax2onnx")
    runtime = pytest.importorskip("onnxruntime")
    about = export(run, "onnx", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"encode.onnx", "decode.onnx", "program.json"} <= names
    assert all(os.access(path, os.R_OK) and path.stat().st_mode & 0o044 for path in (tmp_path / "out").iterdir())
    ours = Ours(run)

    def session(name):
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # jax2onnx leaves constants that no node reads
        found = runtime.InferenceSession(tmp_path / "out" / f"{name}.onnx", options, ["CPUExecutionProvider"])
        described = about["programs"][name]
        assert [x.name for x in found.get_inputs()] == list(described["inputs"])
        assert [x.name for x in found.get_outputs()] == described["outputs"]
        return lambda *arrays: found.run(None, dict(zip(described["inputs"], arrays, strict=True)))

    batches = (1,) if ours.cfg.aggregation else (1, 3)
    assert about["programs"]["encode"]["inputs"]["wave"]["shape"][0] == (1 if ours.cfg.aggregation else "batch")
    for batch in batches:
        check(ours, about, batch, session("encode"), session("decode"))


@pytest.mark.parametrize("length", [16, 1280])
def test_fourier_transforms_as_matmuls(length):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, length), dtype=np.float32)
    x -= 1.0  # negative at DC, where a wrong sign of zero moves the phase from pi to -pi
    spectrum = fourier.rfft(x)
    with fourier.by_matmuls():
        found, back = fourier.rfft(x), fourier.irfft(spectrum, length)
        phase, modulus = fourier.angle(found), fourier.modulus(found)
    np.testing.assert_allclose(found, spectrum, atol=2e-6 * length)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(modulus, np.abs(spectrum), atol=2e-6 * length)
    np.testing.assert_allclose(phase, np.angle(spectrum), atol=1e-3)
    assert np.all(phase[:, 0] == np.float32(np.pi)) and np.all(np.abs(found.imag[:, [0, -1]]) == 0)
