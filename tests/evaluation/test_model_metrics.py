"""Metrics that ask a trained model: tiny random ones, as transformers stores them."""

import json

import numpy as np
import pytest

from quarkaudio_jax.cli import evaluate
from quarkaudio_jax.evaluation.datasets import Item
from quarkaudio_jax.evaluation.model_metrics import METRIC_MODELS, FadEncoder, MetricModelError, load_metric_model
from quarkaudio_jax.metrics.word_errors import error_rates
from tests.evaluation import sets

SIZES = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_conv_pos_embeddings=8
)
SIZES |= dict(num_conv_pos_embedding_groups=2, conv_dim=(8, 8), conv_stride=(10, 32), conv_kernel=(10, 32))
SIZES |= dict(num_feat_extract_layers=2)


@pytest.fixture(scope="module")
def transformers():
    torch = pytest.importorskip("torch", reason="torch runs the models")
    torch.manual_seed(0)
    return pytest.importorskip("transformers", reason="transformers holds the models")


@pytest.fixture(scope="module")
def asr_model(transformers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("asr_model")
    letters = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), unk_token="<pad>", pad_token="<pad>")
    extractor = transformers.Wav2Vec2FeatureExtractor()
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    config = transformers.Wav2Vec2Config(vocab_size=len(letters), pad_token_id=0, **SIZES)
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def speaker(transformers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speaker")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = transformers.WavLMConfig(tdnn_dim=(8, 8, 8), tdnn_kernel=(5, 3, 1), tdnn_dilation=(1, 2, 1), **SIZES, xvector_output_dim=8)  # fmt: skip
    transformers.WavLMForXVector(config).save_pretrained(folder)
    return folder


def test_a_recognizer_and_a_speaker_encoder_fill_their_columns(asr_model, speaker, tmp_path):
    sets.vctk(tmp_path)
    from quarkaudio_jax.evaluation.benchmarks import BENCHMARKS

    items = BENCHMARKS["vctk-conversion"].read(tmp_path)
    for item in items:  # as if the voice itself had been given back
        sets.audio.write(tmp_path / "made" / f"{item.name}.wav", *sets.audio.read(item.voice))
    given = [f"--data={tmp_path}", f"--reconstructions={tmp_path / 'made'}", "--metrics=wer,speaker", "--batch=2"]
    given += ["--benchmark=vctk-conversion", f"--asr-model={asr_model}", f"--speaker={speaker}"]
    evaluate.main(["quarkaudio evaluate", *given, f"--output={tmp_path / 'out'}"])
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not found["left_out"] and len(found["files"]) == 3
    for row in found["files"]:
        assert row["speaker_similarity"] == pytest.approx(1, abs=1e-5)
        assert (
            row["wer"] == pytest.approx(error_rates("Please call Stella.", row["understood"])["wer"])
            and row["words"] == 3
        )
    assert found["means"]["words"] == 9


def test_what_a_judge_can_not_hear_is_listed_and_the_others_go_on(tmp_path, monkeypatch):
    class Deaf:
        def __init__(self, _): ...

        def __call__(self, items, waves, rate):
            if any(item.name.endswith("0001") for item in items):
                raise IndexError("nothing to hear")
            return [{**error_rates(item.text, item.text), "understood": item.text} for item in items]

    pytest.importorskip("jiwer", reason="the package jiwer counts the errors")
    monkeypatch.setitem(METRIC_MODELS, "asr_model", Deaf)
    sets.librispeech(tmp_path)
    given = [f"--data={tmp_path}", f"--reconstructions={tmp_path / 'LibriSpeech' / 'test-clean'}", "--metrics=wer"]
    given += ["--benchmark=librispeech", "--asr-model=any", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit, match=r"not measured:\n  1089/134686/1089-134686-0001: wer: IndexError: nothing"):
        evaluate.main(["quarkaudio evaluate", *given])
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["file"][-4:] for row in found["files"]] == ["0000", "0002"] and found["means"]["wer"] == 0


def test_clap_score_equals_transformers_and_fad_takes_its_embeddings(transformers, tmp_path):
    text = dict(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    heard = dict(patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[1, 2], hidden_size=16, aff_block_r=2)
    config = transformers.ClapConfig(text_config=text | dict(max_position_embeddings=40), audio_config=heard, projection_dim=8)  # fmt: skip
    model = transformers.ClapModel(config).eval()
    model.save_pretrained(tmp_path)
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers come with transformers")
    words = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "dog", "barks"])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    named = dict(unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>", mask_token="<mask>")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **named)
    extractor = transformers.ClapFeatureExtractor(feature_size=64, truncation="rand_trunc", max_length_s=1)
    processor = transformers.ClapProcessor(extractor, tokenizer)
    processor.save_pretrained(tmp_path)
    items = [Item("a", tmp_path, prompt="a dog barks"), Item("b", tmp_path, prompt="dog")]
    waves = [sets.talk(1.0, rate=48000), sets.talk(0.8, 300, 48000)]
    found = load_metric_model("clap", str(tmp_path))(items, waves, 48000)
    given = dict(text=[item.prompt for item in items], audio=waves, sampling_rate=48000, return_tensors="pt")
    inputs = processor(**given, padding=True)
    inputs["input_features"] = inputs["input_features"].float()
    expected = (lambda out: (out.audio_embeds * out.text_embeds).sum(-1).tolist())(model(**inputs))
    assert [row["clap_score"] for row in found] == pytest.approx(expected, abs=1e-5)
    assert [x.shape for x in load_metric_model("fad", f"clap:{tmp_path}")([sets.talk(2.5), sets.talk(0.2)], sets.RATE)] == [(3, 8), (1, 8)]  # fmt: skip


def test_fad_of_a_set_from_itself_is_nothing_and_from_another_something(tmp_path):
    sets.musdb(tmp_path)
    for i in range(8):
        sets.write(tmp_path / "musdb18hq" / "test" / f"T{i}" / "mixture.wav", 1.5, 100 + 40 * i)
    from quarkaudio_jax.evaluation.benchmarks import BENCHMARKS

    found = {}
    for kind, shift in (("same", 0), ("other", 300)):
        for item in BENCHMARKS["musdb"].read(tmp_path):
            samples, rate = sets.audio.read(item.source)
            other = sets.talk(len(samples) / rate, 100 + shift, rate) if shift else samples
            sets.audio.write(tmp_path / kind / f"{item.name}.wav", other, rate)
        given = ["--benchmark=musdb", f"--data={tmp_path}", f"--reconstructions={tmp_path / kind}", "--fad=mel"]
        evaluate.main(
            ["quarkaudio evaluate", *given, "--metrics=fad,mel_distance", f"--output={tmp_path / 'out' / kind}"]
        )
        found[kind] = json.loads((tmp_path / "out" / kind / "results.json").read_text())["means"]["fad"]
    assert abs(found["same"]) < 1e-4 * found["other"] and found["other"] > 0.1


def test_seconds_of_a_recording_are_embedded_one_by_one():
    found = FadEncoder("mel")([np.concatenate([sets.talk(1.0), sets.talk(1.2, 400)]), sets.talk(0.2)], sets.RATE)
    assert [len(x) for x in found] == [2, 1] and found[0].shape[1] == 96


@pytest.mark.parametrize("kind", ["asr_model", "speaker", "clap", "fad"])
def test_weights_that_are_not_there_are_named(kind, tmp_path, request):
    option = f"--{kind.replace('_', '-')}"
    with pytest.raises(MetricModelError, match=f"it needs .*, given by {option}="):
        load_metric_model(kind, "")
    if kind != "fad":
        request.getfixturevalue("transformers")
    weights = f"hubert:{tmp_path}" if kind == "fad" else str(tmp_path)
    with pytest.raises(MetricModelError, match=f"{option}=.*{tmp_path.name} can't be read .*; it takes"):
        load_metric_model(kind, weights)
