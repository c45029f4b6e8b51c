"""A language model with every option of `docs/training.md`: trained, stopped, resumed, and run from wave to wave."""

import dataclasses

import jax
import numpy as np
import pytest
from flax.linen import meta

from quarkaudio_jax import load_codec
from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.inference.loading import load_task_model
from quarkaudio_jax.training.loop import Trainer
from quarkaudio_jax.training.preemption import Preemption
from quarkaudio_jax.types import Codes
from quarkaudio_jax.weights.checkpoint import CheckpointError
from quarkaudio_jax.weights.models import abstract_lm
from quarkaudio_jax.weights.saved_lm import read_initial_lm, read_lm
from tests.conftest import losses, small_lm_config
from tests.preparing import arguments, call

LEVERS = dict(
    lm__condition_stack=4,
    lm__aligned_rate=1.0,
    lm__bidirectional_prefix=True,
    lm__encoder_layers=1,
    lm__feature_mask=0.2,
    lm__ar_codebooks=(0, 4),
    lm__fill_layers=1,
    lm__codebook_weights=(2.0, *[1.0] * 7),
    lm__loss_pieces=4,
)


@pytest.mark.slow
def test_a_run_with_every_option_resumes_and_runs_from_wave_to_wave(prepared, trained, tmp_path, monkeypatch):
    config = from_config_dict(small_lm_config(prepared, **LEVERS))
    Trainer(config, tmp_path / "once").run()
    with monkeypatch.context() as told:
        told.setattr(Preemption, "should_stop", lambda _, step: step == 2)
        Trainer(config, tmp_path / "twice").run()
    Trainer(config, tmp_path / "twice").run()
    assert losses(tmp_path / "once") == losses(tmp_path / "twice")
    one, other = (read_lm(tmp_path / name)[1] for name in ("once", "twice"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert {"encoder", "fill_model"} <= one.keys()

    model = load_task_model(tmp_path / "once", codec=trained)
    assert model._lm.cfg.delay_padding == 3
    rng = np.random.default_rng(0)
    wave, voice = (rng.standard_normal(48000 * seconds).astype(np.float32) * 0.1 for seconds in (3, 1))
    out = model("extraction", wave, 48000, reference=(voice, 48000), guidance=1.5)
    assert out.shape == wave.shape and np.isfinite(out).all() and out.any()
    model.save_pretrained(tmp_path / "saved")
    again = load_task_model(tmp_path / "saved")
    np.testing.assert_array_equal(again("extraction", wave, 48000, reference=(voice, 48000), guidance=1.5), out)

    def abstract(**fields):
        described = from_config_dict(small_lm_config(prepared, **fields))
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = meta.unbox(abstract_lm(dataclasses.replace(described, dataset=model.cfg.dataset)))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)

    seen = []
    found = read_initial_lm(str(tmp_path / "saved"), abstract(**LEVERS), seen.append)
    jax.tree.map(np.testing.assert_array_equal, found.params, one)
    assert seen[0].lm == model.cfg.lm
    with pytest.raises(CheckpointError, match=r"init_from=.*saved does not fit this configuration"):
        read_initial_lm(str(tmp_path / "saved"), abstract(), seen.append)


@pytest.mark.slow
def test_a_model_over_the_first_codebooks_alone(trained, tmp_path, monkeypatch):
    """Prepared, trained and run: the records hold them, and the codec decodes what the model answers with."""
    call(*arguments(trained, tmp_path / "data", **{"examples.restoration": 6, "num_codebooks": 2}))
    codec = load_codec(trained)
    records = Records(tmp_path / "data" / "restoration")
    assert all(records[i][stream].shape[1] == 2 for i in range(6) for stream in ("acoustic", "semantic"))
    fields = dict(lm__ar_codebooks=(0, 2), lm__fill_layers=1, lm__loss_pieces=2, loop__steps=2)
    Trainer(from_config_dict(small_lm_config(tmp_path / "data", **fields)), tmp_path / "run").run()

    model = load_task_model(tmp_path / "run", codec=trained)
    assert len(model.cfg.dataset.codebooks) == 4 and model.cfg.dataset.num_codebooks == 2
    decoded = []
    decode = type(codec).decode

    def watched(self, codes: Codes, *args):
        decoded.append(codes)
        return decode(self, codes, *args)

    monkeypatch.setattr(type(codec), "decode", watched)
    wave = np.random.default_rng(0).standard_normal(48000).astype(np.float32) * 0.1
    out = model("restoration", wave, 48000)
    assert out.shape == wave.shape and out.any()
    assert all(codes.acoustic_BxTxK.shape[-1] == codes.semantic_BxTxK.shape[-1] == 2 for codes in decoded)
