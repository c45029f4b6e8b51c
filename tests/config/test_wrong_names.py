"""A wrong word in a configuration is an error of the project's own class, and one line of a verb."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from quarkaudio_jax.cli import train
from quarkaudio_jax.cli.config_flags import check_fields
from quarkaudio_jax.cli.options import UsageError
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.compile_report.chips import topology_devices
from quarkaudio_jax.config import OptimConfig, PrepareConfig, TrainConfig
from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.io.mel import mel_scales
from quarkaudio_jax.lm.variants import get_size
from quarkaudio_jax.nn.stack import Stack
from quarkaudio_jax.ssl.features import get_recipe
from quarkaudio_jax.text.features import get_recipe as get_text_recipe
from quarkaudio_jax.training.optim import make_schedule


def a_stack(remat):
    return jax.eval_shape(Stack(nn.Dense, {}, 1, remat=remat).init, jax.random.key(0), jnp.zeros((1, 2, 3)))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: get_variant("foo"),
        lambda: get_size("foo"),
        lambda: get_recipe("foo"),
        lambda: get_text_recipe("foo"),
        lambda: make_schedule(OptimConfig(schedule="foo"), 10),
        lambda: make_schedule(OptimConfig(warmup="foo"), 10),
        lambda: topology_devices("foo"),
        lambda: a_stack("foo"),
    ],
)
def test_names_that_do_not_exist(ask):
    with pytest.raises(QuarkAudioError, match="foo"):
        ask()


@pytest.mark.parametrize(
    "field, message",
    [
        ("codec.dtype=foo", "config.codec.dtype is 'foo', but should be one of float32, bfloat16"),
        ("codec.variant=foo", "codec 'foo' is not known; choose one of"),
        ("optim.schedule=foo", "schedule 'foo' is not one of"),
        ("mesh.data=7", "does not fill the 1 devices at hand; change config.mesh"),
        ("program=foo", "config.program 'foo' does not exist"),
    ],
)
def test_a_verb_says_it_in_one_line(field, message, tmp_path):
    small = ["data.batch_size=2", "data.crop_seconds=0.4", "losses.adversarial=0.0", "losses.feature_matching=0.0"]
    flags = [f"--config.{one}" for one in (*small, field)]
    with pytest.raises(SystemExit) as stopped:
        train.main(["train", "--config=configs/codec48k.py:tiny", f"--workdir={tmp_path / 'run'}", *flags])
    assert str(stopped.value).startswith("error: ") and message in str(stopped.value)
    assert len(str(stopped.value).splitlines()) == 1


def test_windows_and_bands_of_mel_scales_belong_together():
    with pytest.raises(QuarkAudioError, match="mel scales: 2 windows, but 1 numbers of bands; give one for each"):
        mel_scales((32, 64), (5,))


@pytest.mark.parametrize(
    "cls, old, new",
    [
        (TrainConfig, "adversary.crop_seconds=1", "discriminators.crop_seconds"),
        (TrainConfig, "adversary_optim.learning_rate=1", "discriminator_optim.lr"),
        (PrepareConfig, "pools.speech=folder", "sources.speech"),
        (PrepareConfig, "simulation.talkers.enrolment=(1,2)", "simulation.talkers.enrollment"),
    ],
)
def test_a_name_of_version_0_1_is_answered_with_the_new_one(cls, old, new):
    with pytest.raises(UsageError, match=f"config.{old.split('=')[0]} does not exist; it is now '{new}'"):
        check_fields([f"--config.{old}"], cls)


def test_the_command_line_says_the_new_name_in_one_line(tmp_path):
    flags = [f"--workdir={tmp_path / 'run'}", "--config.adversary.crop_seconds=0.5"]
    with pytest.raises(SystemExit) as stopped:
        train.main(["train", "--config=codec48k:tiny", *flags])
    assert str(stopped.value) == (
        "error: --config.adversary.crop_seconds does not exist; it is now 'discriminators.crop_seconds'"
    )
