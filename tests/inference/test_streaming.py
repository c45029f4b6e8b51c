"""Streaming sessions: the same codes and samples as those of a recording in the same chunks, however they are pushed."""

import dataclasses

import numpy as np
import pytest

from quarkaudio_jax.codec.chunked import ChunkSpec, OpenWindows
from quarkaudio_jax.errors import UserError
from tests.inference.test_stereo import made, noise

CHUNK, CONTEXT = 0.24, 0.08


@pytest.fixture(
    scope="module",
    params=["hcodec_16k_tiny"]
    + [pytest.param(f"hcodec_16k_{n}_tiny", marks=pytest.mark.slow) for n in ("adaptive", "mono2stereo")],
)
def codec(request):
    return made(request.param)


@pytest.mark.parametrize("total", [1, 9, 10, 11, 12, 30, 31])
def test_windows_of_an_open_recording_are_those_of_the_whole(total):
    spec = ChunkSpec(6, 2)
    queue, found = OpenWindows(spec), []
    for frames in range(total + 1):
        new = list(queue.ready(frames))
        assert all(window.stop <= frames for window in new)
        found += new
        assert queue.needed == max((found[-1].last if found else 0) - spec.context, 0)
    late = max(total - spec.window, 0) // spec.chunk
    assert len(found) >= late
    assert [*found, *queue.ready(total, ended=True)] == list(spec.windows(total))


@pytest.mark.parametrize(
    "sizes", [[640 * 40 + 17], [100] * 300, [7000, 1, 12000, 6617]], ids=["all", "small", "uneven"]
)
def test_a_session_gives_what_a_recording_in_the_same_chunks_gives(codec, sizes, monkeypatch):
    wave = noise(sum(sizes), *(() if codec.channels == 1 else (2,)))
    ends = np.cumsum(sizes)
    parts, samples = [], []
    with codec.streaming(CHUNK, CONTEXT) as session:
        assert session.chunk_spec == ChunkSpec(6, 2) and session.latency == pytest.approx(0.32)
        for end, size in zip(ends, sizes, strict=True):
            codes = session.push(wave[end - size : end])
            done = sum(frames_of(part) for part in parts) + frames_of(codes)
            assert done * codec.hop_length >= end - (session.latency + CONTEXT) * 16000 - codec.hop_length
            parts.append(codes)
            samples.append(session.decode(codes))
        parts.append(session.finish())
        samples.append(session.decode(parts[-1], last=True))
    with pytest.raises(UserError, match="this session has ended"):
        session.push(wave)
    monkeypatch.setattr(codec, "chunk_spec", session.chunk_spec)
    acoustic, semantic, durations, spatial = codec.encode_stream(lambda a, b: wave[a:b], len(wave))
    for name, want in (
        ("acoustic_BxTxK", acoustic),
        ("semantic_BxTxK", semantic),
        ("durations_BxT", durations),
        ("spatial_BxTxK", spatial),
    ):
        found = [getattr(part, name) for part in parts]
        if want is None:
            assert found == [None] * len(parts)
        else:
            np.testing.assert_array_equal(np.concatenate(found, axis=1)[0], want)
    whole = np.concatenate(list(codec.decode_stream(acoustic, semantic, len(wave), None, durations, spatial)))
    np.testing.assert_array_equal(np.concatenate(samples)[: len(wave)], whole)
    assert len(np.concatenate(samples)) == -(-len(wave) // 640) * 640


def frames_of(codes):
    return codes.acoustic_BxTxK.shape[1] if codes.durations_BxT is None else int(codes.durations_BxT.sum())


def test_first_codebooks_and_nothing_at_all(codec):
    with codec.streaming(CHUNK, CONTEXT, num_codebooks=2) as session:
        codes = session.push(noise(640 * 20))
        assert codes.acoustic_BxTxK.shape[0] == 1 and codes.acoustic_BxTxK.shape[2] == 2 and frames_of(codes) == 18
        none = session.push(noise(5))
        assert none.acoustic_BxTxK.shape == (1, 0, 2) and none.semantic_BxTxK.shape == (1, 0, 2)
        assert len(session.decode(dataclasses.replace(none))) == 0
    with codec.streaming() as session:
        assert frames_of(session.finish()) == 0


@pytest.mark.parametrize(
    "arguments, message", [((0.0, 0.5), "chunks of 0 frames"), ((1.0, -1.0), "with -25 of context")]
)
def test_impossible_chunks_are_refused(codec, arguments, message):
    with pytest.raises(UserError, match=message):
        codec.streaming(*arguments)
