"""The library API: load, encode, decode, in batches, with lengths; what can't be meant is refused in words."""

import dataclasses
import multiprocessing
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import quarkaudio_jax
from quarkaudio_jax.codec.chunked import ChunkSpec
from quarkaudio_jax.codec.variants import get_variant
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.inference.codec import Codec
from quarkaudio_jax.ssl.features import Extractor, get_recipe
from quarkaudio_jax.types import Codes, Wave
from quarkaudio_jax.weights.files import write_tensors
from quarkaudio_jax.weights.hcodec import export_hcodec, import_hcodec
from tests.parity.codecs import golden_state_dict

RNG = np.random.default_rng(0)


def noise(*shape):
    return 0.1 * RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(
    scope="module", params=["hcodec_16k_tiny", pytest.param("hcodec_16k_adaptive_tiny", marks=pytest.mark.slow)]
)
def codec(request):
    cfg = get_variant(request.param)
    return Codec(cfg, import_hcodec(cfg, golden_state_dict(cfg)), Extractor(get_recipe("mel")))


def test_it_says_what_it_is(codec):
    assert codec.sample_rate == 16000 and codec.frame_rate == 25.0
    assert codec.num_codebooks == (4, 4) and codec.codebook_size == (256, 256)
    assert codec.bitrate == (64 + 3 * codec.is_adaptive) * 25 and codec.hop_length == 640
    if not codec.is_adaptive:
        assert repr(codec) == (
            "<Codec hcodec_16k_tiny: 16000 Hz, mono, 25 frames a second, 4 + 4 codebooks of 256, 1.6 kbit/s, features mel>"
        )


def test_a_batch_equals_its_items(codec):
    wave, lengths = noise(3, 20000), [20000, 12345, 1]
    codes = codec.encode(wave, lengths=lengths)
    back = codec.decode(codes, lengths)
    assert back.samples_BxS.shape == (3, 20000) and back.lengths_B.tolist() == lengths
    for i, length in enumerate(lengths):
        one = codec.encode(wave[i, :length])
        count = int(codes.lengths_B[i])
        assert count == one.acoustic_BxTxK.shape[1]
        np.testing.assert_array_equal(codes.acoustic_BxTxK[i, :count], one.acoustic_BxTxK[0])
        np.testing.assert_array_equal(codes.semantic_BxTxK[i, :count], one.semantic_BxTxK[0])
        if codec.is_adaptive:
            assert codes.durations_BxT[i].sum() == -(-length // 640)
        np.testing.assert_allclose(back.samples_BxS[i, :length], codec.decode(one, length).samples_BxS[0], atol=1e-6)
        assert not back.samples_BxS[i, length:].any()


def test_rates_codebooks_and_waves(codec):
    codes = codec.encode(Wave(noise(1, 9600), 48000), num_codebooks=2)
    assert codes.acoustic_BxTxK.shape[2] == codes.semantic_BxTxK.shape[2] == 2
    assert codec.decode(codes).samples_BxS.shape == (1, 3200)
    for bad, message in (
        (dict(num_codebooks=5), "has 1 to 4"),
        (dict(lengths=[0]), "do not fit a batch"),
        (dict(threshold=0.5, max_group=9), "fixed frame rate|allows 1 to 8"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.encode(noise(1, 640), **bad)
    with pytest.raises(ValueError, match="not empty"):
        codec.encode(noise(1, 0))


@pytest.mark.parametrize("codec", ["hcodec_16k_adaptive_tiny"], indirect=True)
def test_threshold_and_group_length(codec):
    wave = noise(640 * 20)
    assert codec.encode(wave, threshold=1.0).durations_BxT.tolist() == [[1] * 20]
    assert codec.encode(wave, threshold=-1.1).durations_BxT.tolist() == [[8, 8, 4]]
    assert codec.encode(wave, threshold=-1.1, max_group=3).durations_BxT.tolist() == [[3] * 6 + [2]]


def test_long_recordings_go_in_chunks(codec):
    """Groups end at the chunks' edges; what was fed in pieces decodes to its own length."""
    chunk_spec, codec.chunk_spec = codec.chunk_spec, ChunkSpec(6, 2)
    try:
        wave = noise(640 * 20 + 17)
        codes = codec.encode(wave, threshold=-1.1) if codec.is_adaptive else codec.encode(wave)
        if codec.is_adaptive:
            assert codes.durations_BxT.tolist() == [[6, 6, 6, 3]]
        assert codec.reconstruct(wave).shape == wave.shape
    finally:
        codec.chunk_spec = chunk_spec


FIXED = pytest.mark.parametrize("codec", ["hcodec_16k_tiny"], indirect=True)
ADAPTIVE = pytest.mark.parametrize("codec", ["hcodec_16k_adaptive_tiny"], indirect=True)


@FIXED
def test_arrays_of_every_kind_give_the_same(codec):
    torch = pytest.importorskip("torch")
    wave = noise(2, 1280).astype(np.float16)  # its values are exact in every type
    want = codec.encode(wave.astype(np.float32))
    kinds = [wave, wave.astype(np.float64), jnp.asarray(wave), wave.tolist(), Wave(torch.from_numpy(wave), 16000)]
    kinds += [torch.from_numpy(wave), torch.from_numpy(wave).double().requires_grad_(), np.asfortranarray(wave)]
    for kind in kinds:
        codes = codec.encode(kind)
        np.testing.assert_array_equal(codes.acoustic_BxTxK, want.acoustic_BxTxK)
        np.testing.assert_array_equal(codes.semantic_BxTxK, want.semantic_BxTxK)
    wanted = codec.decode(want).samples_BxS
    for kind in (jnp.asarray, torch.from_numpy, lambda c: c.astype(np.uint16), np.ndarray.tolist):
        codes = Codes(kind(want.acoustic_BxTxK), kind(want.semantic_BxTxK), 25.0, kind(want.lengths_B))
        np.testing.assert_array_equal(codec.decode(codes).samples_BxS, wanted)


def test_short_and_long_input_give_the_same_types(codec):
    chunk_spec = codec.chunk_spec
    try:
        for codec.chunk_spec in (chunk_spec, ChunkSpec(6, 2)):
            codes = codec.encode(noise(640 * 12))
            wave = codec.decode(codes)
            for array in (codes.acoustic_BxTxK, codes.semantic_BxTxK, codes.lengths_B, wave.lengths_B):
                assert isinstance(array, np.ndarray) and array.dtype == np.int32 and array.flags.writeable
            assert codes.frame_rate == 25.0 and (codes.durations_BxT is None) == (not codec.is_adaptive)
            assert codes.durations_BxT is None or isinstance(codes.durations_BxT, np.ndarray)
            assert isinstance(wave.samples_BxS, np.ndarray) and wave.samples_BxS.dtype == np.float32
    finally:
        codec.chunk_spec = chunk_spec


@FIXED
@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.zeros(640, np.int16),), r"integers \(int16\).*x / 32768"),
        ((np.zeros(640, np.uint8),), r"\(x - 128.0\) / 128"),
        ((np.zeros(640, np.int64),), "integers"),
        ((np.full(640, 12000.0),), "reaches 12000, but audio lies in"),
        ((np.array([0.0, 0.1, np.nan]),), "NaN or infinite samples, the first at 2"),
        ((np.array([0.0, np.inf]),), "NaN or infinite"),
        ((np.array([0.0, 1e300]),), "NaN or infinite"),
        ((np.zeros((640, 2)),), r"\(samples, channels\).*mean\(axis=1\)"),
        ((np.zeros((640, 1)),), r"\(samples, channels\)"),
        ((np.zeros((2, 1, 640)),), r"shape \(2, 1, 640\).*wave\[:, 0\]"),
        ((np.float32(0.1),), r"shape \(\)"),
        ((np.zeros(0),), "not empty"),
        ((np.zeros((0, 640)),), "not empty"),
        (([],), "not empty"),
        (("speech.wav",), "is 'speech.wav', not samples.*soundfile.read"),
        ((pathlib.Path("speech.wav"),), "not samples"),
        (((np.zeros(640), 16000),), "pair of samples and a sample rate"),
        (((16000, np.zeros(640)),), "pair of samples and a sample rate"),
        (([np.zeros(640), np.zeros(641)],), "can't be read as one array"),
        ((None,), "type NoneType"),
        ((np.zeros(640, bool),), "type bool"),
        ((np.zeros(640, complex),), "type complex128"),
        ((Codes(None, None, 25.0),), "type Codes"),
        ((np.zeros(640), 0), "sample_rate is 0"),
        ((np.zeros(640), -16000), "sample_rate is -16000"),
        ((np.zeros(640), float("nan")), "sample_rate is nan"),
        ((np.zeros(640), "16000"), "sample_rate is '16000'"),
        ((np.zeros(640), 16000, [641]), "do not fit a batch"),
        ((np.zeros(640), 16000, [1.0]), "lengths are float64; they should be integers"),
        ((np.zeros((2, 640)), 16000, [640]), "do not fit a batch of 2"),
        ((Wave(np.zeros((1, 640)), 16000), 48000), "a Wave has its own sample_rate"),
    ],
)
def test_what_can_not_be_a_wave_is_refused(codec, arguments, message):
    with pytest.raises(UserError, match=message):
        codec.encode(*arguments)


@FIXED
def test_padding_of_a_wave_may_hold_anything(codec):
    wave = noise(2, 1280)
    want = codec.encode(wave, lengths=[640, 1280])
    wave[0, 640:] = np.nan
    np.testing.assert_array_equal(codec.encode(wave, lengths=[640, 1280]).acoustic_BxTxK, want.acoustic_BxTxK)


def test_options_are_checked(codec):
    for bad in (dict(num_codebooks=True), dict(num_codebooks=2.0), dict(num_codebooks=0), dict(threshold="0.8")):
        with pytest.raises(UserError, match=next(iter(bad)) if codec.is_adaptive else "num_codebooks|fixed frame rate"):
            codec.encode(noise(640), **bad)
    if codec.is_adaptive:
        with pytest.raises(UserError, match="threshold is nan"):
            codec.encode(noise(640), threshold=float("nan"))


@FIXED
def test_one_sample_stays_one(codec):
    for rate in (16000, 48000, 192000):
        codes = codec.encode(np.full((3, 1), 0.1), rate)
        assert codes.lengths_B.tolist() == [1] * 3 and codec.decode(codes, 1).samples_BxS.shape == (3, 1)
    codes = codec.encode(noise(3, 7680), 192000, [1, 7680, 2])
    assert codes.lengths_B.tolist() == [1] * 3


RANDOM = np.random.default_rng(1).integers(0, 256, (2, 3, 4))


def codes_of(acoustic=RANDOM, semantic=RANDOM, rate=25.0, **more):
    return Codes(acoustic, semantic, rate, **more)


def changed(value, place=(0, 1, 2)):
    out = RANDOM.copy()
    out[place] = value
    return out


@FIXED
@pytest.mark.parametrize(
    "codes, num_samples, message",
    [
        (codes_of(changed(99999)), None, r"acoustic codes hold 99999 at \(0, 1, 2\); they should be 0 to 255"),
        (codes_of(semantic=changed(256)), None, "semantic codes hold 256"),
        (codes_of(changed(-1)), None, "acoustic codes hold -1"),
        (codes_of(lengths_B=[3, 4]), None, r"lengths_B \[3, 4\] do not fit.*0 to 3 each"),
        (codes_of(lengths_B=[3, -1]), None, "lengths_B"),
        (codes_of(lengths_B=[3]), None, "do not fit a batch of 2"),
        (codes_of(lengths_B=[3.0, 2.0]), None, "lengths_B are float64"),
        (codes_of(), -1, r"num_samples.*0 or more"),
        (codes_of(), [640, -640], "num_samples"),
        (codes_of(), [640], "do not fit a batch of 2"),
        (codes_of(), 640.0, "num_samples are float64"),
        (codes_of(RANDOM[..., :0]), None, r"1 to 4 codebooks, not empty"),
        (codes_of(RANDOM[:, :0], RANDOM[:, :0]), None, "not empty"),
        (codes_of(np.zeros((2, 3, 5), int)), None, "1 to 4 codebooks"),
        (codes_of(*[np.zeros((2, 4, 50), int)] * 2), None, r"looks like \(batch, codebooks, frames\)"),
        (codes_of(RANDOM[0], RANDOM[0]), None, r"shape \(3, 4\).*codes\[None\]"),
        (codes_of(RANDOM[:, :2]), None, "batch and frames should be equal"),
        (codes_of(RANDOM[:1]), None, "batch and frames should be equal"),
        (codes_of(RANDOM.astype(np.float32)), None, "float32; they should be integers"),
        (codes_of(RANDOM > 3), None, "bool; they should be integers"),
        (codes_of("codes"), None, "should be an array"),
        (codes_of(rate=12.5), None, "frame_rate 12.5; hcodec_16k_tiny has 25"),
        (codes_of(durations_BxT=np.ones((2, 3), int)), None, "has a fixed frame rate"),
        ((RANDOM, RANDOM), None, r"codes are a tuple; they should be Codes"),
        (RANDOM, None, "codes are a ndarray"),
        ("codes.qka", None, "codes are a str"),
    ],
)
def test_what_can_not_be_codes_is_refused(codec, codes, num_samples, message):
    with pytest.raises(UserError, match=message):
        codec.decode(codes, num_samples)


@FIXED
def test_one_recording_is_checked_as_a_batch_is(codec):
    with pytest.raises(UserError, match=r"shape \(1, 640\); it should be \(samples,\)"):
        codec.reconstruct(noise(1, 640))
    for acoustic, num_samples, message in (
        (changed(256)[0], 640, "codes hold 256"),
        (RANDOM[0], 1921, "num_samples is 1921; it should be an integer, 0 to 1920"),
        (RANDOM[0], -1, "num_samples is -1"),
        (RANDOM[0, :2], 640, "batch and frames should be equal"),
    ):
        with pytest.raises(UserError, match=message):
            codec.decode_stream(acoustic, RANDOM[0], num_samples)
    with pytest.raises(UserError, match="shape"):
        codec.encode_stream(lambda a, b: np.zeros((2, b - a)), 640)
    with pytest.raises(UserError, match="NaN"):
        codec.encode_stream(lambda a, b: np.full(b - a, np.nan), 640)


@ADAPTIVE
@pytest.mark.parametrize(
    "durations, lengths, message",
    [
        ([[1, 2, 9], [1, 1, 1]], None, r"hold 9 at \(0, 2\); they should be 1 to 8"),
        ([[1, 0, 2], [1, 1, 1]], None, "hold 0"),
        ([[1, 1, -2], [1, 1, 1]], None, "hold -2"),
        ([[1, 1, 0], [1, 1, 1]], [3, 3], "hold 0"),
        ([[1, 1], [1, 1]], None, r"shape \(2, 2\)"),
        ([[1.0, 1.0, 1.0]] * 2, None, "float64; they should be integers"),
    ],
)
def test_durations_that_can_not_be_are_refused(codec, durations, lengths, message):
    with pytest.raises(UserError, match=message):
        codec.decode(codes_of(durations_BxT=durations, lengths_B=lengths))
    if lengths is None and len(durations[0]) == 3:
        with pytest.raises(UserError, match="durations|hold"):
            codec.decode_stream(RANDOM[0], RANDOM[0], 640, durations_T=durations[0])


def test_padding_of_codes_may_hold_anything(codec):
    durations = np.array([[2, 1, 3], [2, 3, 0]]) if codec.is_adaptive else None
    want = codec.decode(codes_of(lengths_B=[3, 2], durations_BxT=durations))
    junk = codes_of(changed(-99999, (1, 2)), changed(99999, (1, 2)), lengths_B=np.array([3, 2]))
    if codec.is_adaptive:
        junk = dataclasses.replace(junk, durations_BxT=np.array([[2, 1, 3], [2, 3, 77]]))
    got = codec.decode(junk)
    np.testing.assert_array_equal(got.samples_BxS, want.samples_BxS)
    assert got.lengths_B.tolist() == ([6 * 640, 5 * 640] if codec.is_adaptive else [3 * 640, 2 * 640])


@FIXED
def test_items_of_no_codes_are_silent(codec):
    assert codec.decode(codes_of(lengths_B=[0, 0])).samples_BxS.shape == (2, 0)
    wave = codec.decode(codes_of(lengths_B=[0, 1]))
    assert wave.lengths_B.tolist() == [0, 640] and not wave.samples_BxS[0].any() and wave.samples_BxS[1].any()


@pytest.mark.parametrize("books", [(2, 2), (1, 3)])
def test_cut_codes_decode_to_the_sums_of_the_first_codebooks(codec, books):
    a, s = (RANDOM[..., :n] for n in books)
    found = codec.decode(codes_of(a, s)).samples_BxS
    entries = [codec._variables["codebooks"][q]["books"].embed_KxVxD for q in ("quantizer", "semantic_quantizer")]
    vectors = [sum(e[k][c[..., k]] for k in range(c.shape[-1])) for e, c in zip(entries, (a, s), strict=True)]
    want = jax.jit(lambda v, *vectors: codec._codec.apply(v, *vectors, method="synthesize"))(codec._variables, *vectors)
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert np.abs(found - codec.decode(codes_of()).samples_BxS).max() > 1e-4


def encode_in_another_process(codec, wave):
    return codec.encode(wave, num_codebooks=2), codec.fingerprint()


def test_it_can_be_pickled(codec):
    codec.chunk_spec, chunk_spec = ChunkSpec(400, 40), codec.chunk_spec
    try:
        copy = pickle.loads(pickle.dumps(codec))
    finally:
        codec.chunk_spec = chunk_spec
    wave = noise(1280)
    assert (
        copy.chunk_spec == ChunkSpec(400, 40) and copy.name == codec.name and copy.fingerprint() == codec.fingerprint()
    )
    np.testing.assert_array_equal(copy.encode(wave).semantic_BxTxK, codec.encode(wave).semantic_BxTxK)


@pytest.mark.slow
@FIXED
def test_worker_processes_take_it(codec):
    wave = noise(1280)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        codes, fingerprint = pool.apply(encode_in_another_process, (codec, wave))
    np.testing.assert_array_equal(codes.acoustic_BxTxK, codec.encode(wave, num_codebooks=2).acoustic_BxTxK)
    assert fingerprint == codec.fingerprint()


def turned(tree):
    """The same tree, its keys in another order."""
    return {k: turned(v) for k, v in reversed(tree.items())} if isinstance(tree, dict) else tree


@FIXED
def test_the_fingerprint_is_of_the_weights_alone(codec):
    stacks = {"params": stacked(codec), "codebooks": codec._variables["codebooks"]}
    for variables in (turned(stacks), jax.device_get(codec._variables)):
        assert Codec(codec.cfg, variables, codec.extractor).fingerprint() == codec.fingerprint()
    leaves, tree = jax.tree.flatten(codec._variables)
    for index in (0, -1):
        other = [*leaves]
        other[index] = other[index].at[(0,) * other[index].ndim].add(1e-3)
        assert Codec(codec.cfg, tree.unflatten(other), codec.extractor).fingerprint() != codec.fingerprint()


def test_weights_of_the_public_code_load_by_path(codec, tmp_path, monkeypatch):
    """A bare weight file is recognized by its names and shapes."""
    params = {"params": stacked(codec), "codebooks": codec._variables["codebooks"]}
    path = tmp_path / "codec.safetensors"
    write_tensors(path, export_hcodec(codec.cfg, params))
    monkeypatch.setattr("quarkaudio_jax.inference.codec.codec_extractor", lambda *_: codec.extractor)
    loaded = quarkaudio_jax.load_codec(path)
    wave = noise(6400)
    assert loaded.name == codec.name and loaded.fingerprint() == codec.fingerprint()
    np.testing.assert_array_equal(loaded.encode(wave).acoustic_BxTxK, codec.encode(wave).acoustic_BxTxK)


def stacked(codec):
    from quarkaudio_jax.nn.stack import stack_params

    return stack_params(codec._variables["params"])
