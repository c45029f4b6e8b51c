"""A language model with every option of `docs/training.md`: trained, stopped, resumed, and run from wave to wave."""

import dataclasses

import jax
import numpy as np
import pytest
from flax.linen import meta

from quarkaudio_jax.config import from_config_dict
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.inference.codec import Codec
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
    lm__ar_codebooks=(0, 2),
    lm__fill_layers=1,
    lm__codebook_weights=(2.0, *[1.0] * 3),
    lm__loss_pieces=4,
)


@pytest.mark.slow
def test_a_run_with_every_option_resumes_and_runs_from_wave_to_wave(trained, tmp_path, monkeypatch):
    """Over the first two codebooks of each stream, as its data was prepared."""
    data = tmp_path / "data"
    call(*arguments(trained, data, **{"examples.extraction": 6, "num_codebooks": 2}))
    records = Records(data / "extraction")
    assert all(records[i][stream].shape[1] == 2 for i in range(6) for stream in ("acoustic", "semantic"))
    config = from_config_dict(small_lm_config(data, **LEVERS))
    Trainer(config, tmp_path / "once").run()
    with monkeypatch.context() as told:
        told.setattr(Preemption, "should_stop", lambda _, step: step == 2)
        Trainer(config, tmp_path / "twice").run()
    Trainer(config, tmp_path / "twice").run()
    assert losses(tmp_path / "once") == losses(tmp_path / "twice")
    one, other = (read_lm(tmp_path / name)[1] for name in ("once", "twice"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert {"encoder", "fill_model"} <= one.keys()

    decoded: list[Codes] = []
    decode = Codec.decode
    monkeypatch.setattr(
        Codec, "decode", lambda self, codes, *args: (decoded.append(codes), decode(self, codes, *args))[1]
    )
    model = load_task_model(tmp_path / "once", codec=trained)
    assert model._lm.cfg.delay_padding == 3 and len(model.cfg.dataset.codebooks) == 4
    rng = np.random.default_rng(0)
    wave, voice = (rng.standard_normal(48000 * seconds).astype(np.float32) * 0.1 for seconds in (3, 1))
    out = model("extraction", wave, 48000, reference=(voice, 48000), guidance=1.5)
    assert out.shape == wave.shape and np.isfinite(out).all() and out.any()
    assert decoded and all(stream.shape[-1] == 2 for codes in decoded for stream in codes.streams)
    model.save_pretrained(tmp_path / "saved")
    again = load_task_model(tmp_path / "saved")
    np.testing.assert_array_equal(again("extraction", wave, 48000, reference=(voice, 48000), guidance=1.5), out)

    def abstract(**fields):
        described = from_config_dict(small_lm_config(data, **fields))
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = meta.unbox(abstract_lm(dataclasses.replace(described, dataset=model.cfg.dataset)))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)

    seen = []
    found = read_initial_lm(str(tmp_path / "saved"), abstract(**LEVERS), seen.append)
    jax.tree.map(np.testing.assert_array_equal, found.params, one)
    assert seen[0].lm == model.cfg.lm
    with pytest.raises(CheckpointError, match=r"init_from=.*saved does not fit this configuration"):
        read_initial_lm(str(tmp_path / "saved"), abstract(), seen.append)
