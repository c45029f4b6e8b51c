"""`compile`: for the devices at hand, and, where libtpu is, for slices that are not."""

import dataclasses
import importlib.util
import json
import math

import jax
import pytest

from quarkaudio_jax.cli import compile as verb
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.compile_report.programs import lower_training
from quarkaudio_jax.compile_report.report import _out_of_memory
from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.configs import codec16k_stereo
from quarkaudio_jax.lm.variants import get_size
from quarkaudio_jax.ssl.model import PUBLISHED, WAV2VEC2_LARGE
from quarkaudio_jax.tokens.vocabulary import Vocabulary
from quarkaudio_jax.weights.ssl import abstract_params
from tests.conftest import shrunk

LM = (
    "--config=configs/lm.py:tiny",
    "--codec=hcodec_48k_tiny",
    "--config.data.batch_size=8",
    "--config.data.length=256",
)
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="the package libtpu is missing")


def call(*flags):
    verb.main(["quarkaudio compile", *flags])


@pytest.mark.slow
def test_the_devices_at_hand(tmp_path, capsys):
    call(*LM, f"--output={tmp_path / 'report.json'}")
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["program"], found["devices"], found["chip"]) == ("train", 1, "cpu")
    assert found["compute_seconds"] is None and len(found["largest"]) == 10
    backbone, codec, positions = get_size("tiny"), get_variant("hcodec_48k_tiny"), 8 * 256
    ids, books = (
        Vocabulary((codec.acoustic_quantizer.codebook_size,)).num_ids,
        2 * codec.acoustic_quantizer.num_codebooks,
    )
    width, length = backbone.num_heads * backbone.head_width, 256
    layer = backbone.dim * (2 * width + 2 * backbone.num_kv_heads * backbone.head_width + 3 * backbone.hidden)
    ones = length * backbone.num_heads  # that attention mixes beside the values, forwards
    products = backbone.num_layers * ((layer + 2 * length * width) * 3 + ones)  # forward, and two backward
    products += backbone.dim * books * ids * 3  # without what the loss works out again for its gradient
    products += 2 * codec.semantic.feature_dim * backbone.dim * 2  # adapters, whose inputs need no gradient
    assert found["model_flops"] == pytest.approx(2 * positions * products, rel=1e-3)
    assert found["memory"]["optimizer and discriminators"] == pytest.approx(2 * found["memory"]["parameters"], rel=1e-3)
    assert found["xla_cost"]["flops"] > 0 and found["xla_cost"]["bytes"] > 0
    printed = capsys.readouterr().out
    assert "TFLOP a step" in printed and "by XLA's cost analysis (loop bodies count once)" in printed


@pytest.mark.slow
def test_training_with_an_ssl_model_needs_no_weights(monkeypatch):
    """The SSL model of the step, here a small one: frozen, and counted in memory and FLOPs."""
    cfg = codec16k_stereo.get_config("tiny")
    shrunk(cfg, losses__adversarial=0.0, losses__feature_matching=0.0, features__recipe="wav2vec2")
    width = get_variant("hcodec_16k_stereo_tiny").semantic.feature_dim
    small = dataclasses.replace(WAV2VEC2_LARGE, dim=width, num_layers=1, num_heads=4, hidden=2 * width)
    monkeypatch.setitem(PUBLISHED, "facebook/wav2vec2-large-xlsr-53", small)
    with_model = lower_training(from_config_dict(cfg), jax.devices()[:1])
    cfg.features.recipe = "mel"
    without = lower_training(from_config_dict(cfg), jax.devices()[:1])
    weights = sum(math.prod(x.shape) for x in jax.tree.leaves(abstract_params(small)))
    assert with_model.memory["frozen"] == 4 * weights and without.memory["frozen"] == 0
    assert with_model.model_flops > without.model_flops


def test_what_the_program_does_not_have():
    with pytest.raises(SystemExit, match="--program=encode: this configuration has train, prefill, decode-step"):
        call(*LM, "--program=encode")


def test_an_unknown_topology():
    with pytest.raises(SystemExit, match=r"topology 'v5e:7x9' can't be described.*libtpu"):
        call(*LM, "--topology=v5e:7x9")


def test_by_how_much_it_does_not_fit():
    error = RuntimeError(
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (27.08G) exceeds available HBM (15.75G). HLO module: jit_train_step."
    )
    assert "27.08 GiB of a device's 15.75 GiB, 11.33 GiB too much. Less: a smaller" in str(_out_of_memory(error))
    assert _out_of_memory(RuntimeError("INTERNAL: something else")) is None


@pytest.mark.slow
@needs_libtpu
class TestSlices:
    def test_training_split_over_a_slice(self, tmp_path):
        """Parameters lie split over fsdp, batches stay split; cycles and transfers are told."""
        found = {}
        for name, mesh in (("split", ["--config.mesh.fsdp=8", "--config.mesh.data=1"]), ("whole", [])):
            path = tmp_path / f"{name}.json"
            call(*LM, "--topology=v5e:2x4", f"--output={path}", *mesh)
            found[name] = json.loads(path.read_text())
        split, whole = found["split"], found["whole"]
        assert split["devices"] == 8 and split["chip"] == "v5e"
        assert split["memory"]["parameters"] < 0.2 * whole["memory"]["parameters"]
        assert "all-gather" in split["collectives"] and "all-gather" not in whole["collectives"]
        assert 0 < split["compute_seconds"] < 4 * whole["compute_seconds"]
        assert 0 < whole["utilization"] < 1
        assert all(found[name]["xla_cost"]["flops"] > 0 and found[name]["xla_cost"]["bytes"] > 2**20 for name in found)
        assert split["xla_cost"]["optimal_seconds"] != 0
        times = [seconds for seconds, _, _ in split["costliest"]]
        assert len(times) == 10 and times == sorted(times, reverse=True) and sum(times) < split["compute_seconds"]
        assert not any(array["shape"].startswith(("f32[8,256,", "bf16[8,256,")) for array in split["largest"])

    @pytest.mark.slow
    def test_training_on_chips_with_sparse_cores(self, tmp_path):
        """JAX 0.10 can't read the module that comes back; what libtpu writes of it can be read."""
        path = tmp_path / "report.json"
        call(*LM, "--topology=v6e:2x2", f"--output={path}", "--config.mesh.fsdp=4", "--config.mesh.data=1")
        found = json.loads(path.read_text())
        assert found["chip"] == "v6e" and 0 < found["compute_seconds"] < 0.1 and 0 < found["utilization"] < 1

    def test_several_slices(self, tmp_path):
        path = tmp_path / "report.json"
        mesh = ["--config.mesh.data=2", "--config.mesh.fsdp=-1"]
        call(*LM, "--topology=v5e:2x2", "--slices=2", f"--output={path}", *mesh)
        found = json.loads(path.read_text())
        assert found["devices"] == 8 and found["collectives"]["all-gather"][0] > 0
        with pytest.raises(SystemExit, match="over 2 slices: config.mesh.data must be a multiple of 2"):
            call(*LM, "--topology=v5e:2x2", "--slices=2", "--config.mesh.data=1", "--config.mesh.fsdp=-1")

    @pytest.mark.parametrize(
        "program, config",
        [("decode-step", LM[:2]), ("prefill", LM[:2])]
        + [(name, ("--config=configs/codec48k.py:tiny",)) for name in ("encode", "decode")],
    )
    def test_use(self, program, config, tmp_path):
        call(*config, "--topology=v6e:2x2", f"--program={program}", f"--output={tmp_path / 'report.json'}")
        found = json.loads((tmp_path / "report.json").read_text())
        assert found["devices"] == 1 and found["chip"] == "v6e" and 0 < found["compute_seconds"] < 0.1

    def test_the_largest_batch(self, capsys, monkeypatch):
        """Searched by doubling, then bisected; here with a limit of our own, since tiny models fit by the thousand."""
        from quarkaudio_jax.compile_report import search

        def limited(cfg, devices):
            if cfg.data.batch_size > 8 * 11:
                raise search.OutOfMemory("too much")
            return search.CompileReport(
                "train", 8, "v5e", {"all": 1}, 1, 1.0, 0.1, 0.0, 0.5, {}, [], {"positions": 16.0}
            )

        monkeypatch.setattr(search, "report_training", limited)
        call(*LM, "--topology=v5e:2x4", "--search")
        printed = capsys.readouterr().out
        assert "the largest batch that fits: 11 a device" in printed
        assert "at most 2.0 positions per second and chip" in printed
