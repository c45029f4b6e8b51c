"""Chunks with context: the chunk_spec, bounded windows, and seams."""

import itertools

import numpy as np
import pytest

from quarkaudio_jax.codec import chunked
from quarkaudio_jax.codec.chunked import ChunkSpec

HOP = 10


@pytest.mark.parametrize("frames", [*range(1, 40), 100, 257])
@pytest.mark.parametrize("chunk_spec", [ChunkSpec(8, 2), ChunkSpec(5, 0), ChunkSpec(3, 7)])
def test_windows_tile_the_recording(chunk_spec, frames):
    windows = list(chunk_spec.windows(frames))
    assert windows[0].first == 0 and windows[-1].last == frames
    for a, b in itertools.pairwise(windows):
        assert a.last == b.first
    for w in windows:
        assert 0 <= w.start <= w.first < w.last <= w.stop <= frames
        assert w.stop - w.start <= chunk_spec.padded(w.stop - w.start) <= chunk_spec.window
    assert len({chunk_spec.padded(n) for n in range(1, 1000)}) <= 10


@pytest.mark.parametrize("samples", [1, HOP, 79, 80, 81, 555])
@pytest.mark.parametrize("chunk_spec", [ChunkSpec(8, 2), ChunkSpec(4, 1)])
def test_a_local_codec_is_the_same_in_chunks(samples, chunk_spec):
    """A codec whose frames depend on the neighboring frame alone loses nothing with one frame of context."""
    wave = np.random.default_rng(0).integers(1, 100, samples).astype(np.float32)

    def smoothed(x):
        padded = np.pad(x, ((1, 1), (0, 0)))
        return padded[:-2] + padded[1:-1] + padded[2:]

    def encode_window(wave, valid, keep):
        frames = np.where(np.arange(len(wave)) < valid, wave, 0).reshape(-1, HOP)
        return smoothed(frames), frames

    def decode_window(streams, valid):
        semantic = streams[1]
        mask = np.arange(len(semantic))[:, None] < valid
        return smoothed(np.where(mask, semantic, 0)).reshape(-1)

    def everything(chunk_spec):
        reads = []

        def read(start, stop):
            reads.append(stop - start)
            return wave[start:stop]

        parts = list(chunked.encode(encode_window, read, samples, HOP, chunk_spec))
        acoustic, semantic = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
        out = np.concatenate(list(chunked.decode(decode_window, (acoustic, semantic), samples, HOP, chunk_spec)))
        assert max(reads) <= chunk_spec.window * HOP
        return acoustic, out

    want, got = everything(ChunkSpec(1000, 0)), everything(chunk_spec)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
    assert len(got[1]) == samples


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="chunks of 0 frames"):
        ChunkSpec(0, 1)
