"""UniSE from simulated speech to a trained model that restores: prepared, trained, stopped, resumed, exported, fine-tuned."""

import jax
import numpy as np
import pytest

from quarkaudio_jax.cli import convert, tasks
from quarkaudio_jax.config import ConfigError, from_config_dict
from quarkaudio_jax.configs.unise import get_config
from quarkaudio_jax.data.records import Records
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.bicodec import load_bicodec
from quarkaudio_jax.inference.loading import load_task_model
from quarkaudio_jax.io import audio
from quarkaudio_jax.lm.unise import Unise
from quarkaudio_jax.lm.variants import configured_unise
from quarkaudio_jax.tokens.sequence import Kind
from quarkaudio_jax.tokens.unise import UNISE_TASKS
from quarkaudio_jax.training.loop import Trainer
from quarkaudio_jax.training.preemption import Preemption
from quarkaudio_jax.training.programs import make_program
from quarkaudio_jax.weights.checkpoint import CheckpointError
from quarkaudio_jax.weights.files import WeightFileError
from quarkaudio_jax.weights.saved_bicodec import read_bicodec, write_bicodec
from quarkaudio_jax.weights.saved_unise import read_any_unise, read_unise_run
from tests.conftest import changed, losses
from tests.parity.models import write_bicodec_folder, write_ssl_folder
from tests.preparing import arguments, call

pytestmark = pytest.mark.slow

RATE, SECONDS = 16000, 1.0
FRAMES, ENROLLED = 50, 50


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Small published models: spark/BiCodec with its SSL model, and wavlm."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "spark").mkdir()
    write_ssl_folder(folder / "spark" / "wav2vec2-large-xlsr-53", "hf_wav2vec2_stable17")
    write_bicodec_folder(folder / "spark" / "BiCodec")
    write_ssl_folder(folder / "wavlm", "hf_wavlm")
    return folder


def options(parts):
    """Fields of `prepare`."""
    return {
        "features.recipe": "wavlm",
        "features.weights": parts / "wavlm",
        "simulation.seconds": SECONDS,
        **{f"examples.{task}": 6 for task in UNISE_TASKS},
    }


@pytest.fixture(scope="module")
def prepared(parts, tmp_path_factory):
    output = tmp_path_factory.mktemp("unise") / "data"
    call(*arguments(parts / "spark", output, **options(parts)))
    return output


def experiment(prepared, **fields):
    wanted = dict(data__folder=str(prepared), data__length=224, data__batch_size=2, data__heldout=0.2)
    steps = dict(loop__steps=4, loop__eval_every=2, loop__checkpoint_every=2, loop__log_every=1, optim__warmup_steps=2)
    return changed(get_config("tiny"), **{**wanted, **steps, **fields})


def test_records_hold_bicodecs_tokens_and_whole_segments(parts, prepared):
    codec = load_bicodec(parts / "spark")
    for task in UNISE_TASKS:
        records = Records(prepared / task)
        for record in (records[i] for i in range(len(records))):
            assert record["acoustic"].shape == (32, 1) and record["semantic"].shape == (FRAMES - 1, 1)
            assert (
                record["acoustic"].max() < codec.codebook_size[0] and record["semantic"].max() < codec.codebook_size[1]
            )
            assert len(record["source"]) == FRAMES and len(record["reference"]) == ENROLLED * (task != "restoration")


def test_only_its_tasks_are_prepared_and_only_its_data_trains(parts, prepared, tmp_path):
    with pytest.raises(SystemExit, match="BiCodec, whose tokens are for UniSE, which has no task lass"):
        call(*arguments(parts / "spark", tmp_path / "x", **{**options(parts), "examples.lass": 2}))
    from quarkaudio_jax.configs.lm import get_config as lm_config

    with pytest.raises(ConfigError, match=r"has BiCodec's tokens: train configs/unise\.py on it"):
        make_program(from_config_dict(changed(lm_config("tiny"), data__folder=str(prepared))))
    with pytest.raises(ConfigError, match=r"config\.lm\.encoder_layers is 2, but UniSE has no such part"):
        make_program(from_config_dict(experiment(prepared, lm__encoder_layers=2)))


def test_packed_sequences_have_the_published_loss(prepared):
    """The mean over packed examples is that of the published layout, prefix and ids of one example at a time."""
    program = make_program(from_config_dict(experiment(prepared, lm__attention_dropout=0.0)))
    state = program.init()
    params = jax.tree.map(
        lambda x: x.value if hasattr(x, "value") else x, state.model.params, is_leaf=lambda x: hasattr(x, "value")
    )
    model = Unise(configured_unise(program.cfg))
    for row in program.heldout():
        kind, length = row["kind"], int((row["segment"] > 0).sum())
        codes = row["codes"][kind == Kind.CODES, 0]
        mixture, enrolled = (row["features"][kind == which][None] for which in (Kind.SOURCE, Kind.REFERENCE))
        task = np.array([row["value"][0]])
        globals_1xN = codes[None, 1:33] - 3
        semantic_1xT = codes[None, 34:-1] - 3 - program.model.cfg.global_size
        assert length == 1 + 1 + mixture.shape[1] + (1 + enrolled.shape[1]) * (task[0] > 0) + len(codes)
        prefix = model.apply(
            {"params": params},
            task,
            np.float32(mixture),
            np.float32(enrolled) if task[0] else None,
            method="prefix",
        )
        want, accuracy, _ = model.apply({"params": params}, prefix, globals_1xN, semantic_1xT, 0.1, method="loss")
        found = program.eval_step(
            state.replace(model=state.model.replace(params=params)),
            {k: v[None] for k, v in row.items() if isinstance(v, np.ndarray)},
        )
        np.testing.assert_allclose(found[0]["loss"], want, rtol=2e-5)
        np.testing.assert_allclose(found[0]["accuracy"], accuracy, atol=1e-6)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "once"
    assert Trainer(from_config_dict(experiment(prepared)), workdir).run() == "finished"
    return workdir


def test_a_stopped_run_ends_the_same(run, prepared, tmp_path, monkeypatch):
    config = from_config_dict(experiment(prepared))
    with monkeypatch.context() as told:
        told.setattr(Preemption, "should_stop", lambda _, step: step == 2)
        Trainer(config, tmp_path / "twice").run()
    Trainer(config, tmp_path / "twice").run()
    assert losses(run) == losses(tmp_path / "twice") and len(losses(run)) == 4
    jax.tree.map(np.testing.assert_array_equal, read_unise_run(run)[1], read_unise_run(tmp_path / "twice")[1])


def test_it_restores_and_its_export_does_the_same(run, parts, tmp_path):
    rng = np.random.default_rng(0)
    wave, voice = (0.1 * rng.standard_normal(int(RATE * seconds)).astype(np.float32) for seconds in (5.5, 1))
    model = load_task_model(run, parts / "spark" / "BiCodec", parts / "wavlm")
    out = model("restoration", wave)
    assert out.shape == wave.shape and np.isfinite(out).all() and out.any()
    convert.main(["quarkaudio convert", "export", str(run), f"--output={tmp_path / 'unise.ckpt'}"])
    again = load_task_model(tmp_path / "unise.ckpt", parts / "spark" / "BiCodec", parts / "wavlm")
    np.testing.assert_array_equal(again("restoration", wave), out)
    audio.write(tmp_path / "in.wav", wave, RATE)
    audio.write(tmp_path / "voice.wav", voice, RATE)
    named = [f"--checkpoint={run}", f"--codec={parts / 'spark' / 'BiCodec'}", f"--features={parts / 'wavlm'}"]
    tasks.main(
        ["quarkaudio", "extract", str(tmp_path / "in.wav"), f"--enrollment={tmp_path / 'voice.wav'}", *named]
        + [f"--output={tmp_path / 'out'}"]
    )
    assert audio.info(tmp_path / "out" / "in.wav")[1] == RATE


def test_its_weights_go_both_ways_and_start_another_run(run, prepared, tmp_path, capsys):
    for suffix in (".safetensors", ".pt"):
        convert.main(["quarkaudio convert", "export", str(run), f"--output={tmp_path / f'unise{suffix}'}"])
    convert.main(
        ["quarkaudio convert", "import", str(tmp_path / "unise.pt"), f"--output={tmp_path / 'official'}", "--license=x"]
    )
    assert "UniSE, tiny" in capsys.readouterr().out
    trained, params = read_unise_run(run)
    for source in (tmp_path / "official", tmp_path / "unise.safetensors", run):
        cfg, found, dataset = read_any_unise(source)
        assert dataset.features.recipe == "wavlm" and cfg.vocabulary == configured_unise(trained).vocabulary
        jax.tree.map(np.testing.assert_array_equal, found, params)
    for source in (tmp_path / "unise.safetensors", tmp_path / "official"):
        config = from_config_dict(experiment(prepared, init_from=str(source), loop__steps=1, optim__lr=0.0))
        Trainer(config, tmp_path / f"from_{source.name}").run()
        jax.tree.map(np.testing.assert_array_equal, read_unise_run(tmp_path / f"from_{source.name}")[1], params)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        other = experiment(prepared, init_from=str(tmp_path / "unise.pt"), lm__size="small")
        Trainer(from_config_dict(other), tmp_path / "other").run()


def test_what_is_not_converted_is_said(run, parts, tmp_path):
    for arguments_, message in (
        (["import", str(parts / "spark"), f"--output={tmp_path / 'a'}"], "BiCodec, which needs no conversion"),
        (
            ["export", str(run), "--format=hub", f"--output={tmp_path / 'b'}"],
            "UniSE, which has a file format of its own",
        ),
        (["export", str(run), f"--output={tmp_path / 'c.bin'}"], "should end in"),
    ):
        with pytest.raises(SystemExit, match=message):
            convert.main(["quarkaudio convert", *arguments_])
    cfg, params = read_bicodec(parts / "spark")
    write_bicodec(tmp_path / "retrained", cfg, jax.tree.map(lambda x: np.asarray(x) * 2, params))
    with pytest.raises(UserError, match="trained on tokens of a BiCodec with other weights than .*retrained"):
        load_task_model(run, tmp_path / "retrained", parts / "wavlm")
    with pytest.raises(WeightFileError, match="not a folder of BiCodec"):
        load_task_model(run, tmp_path / "nothing", parts / "wavlm")
