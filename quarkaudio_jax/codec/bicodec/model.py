"""BiCodec: features and a reference clip to tokens, tokens to a wave."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.codec.bicodec.quantize import FactorizedQuantizer
from quarkaudio_jax.codec.bicodec.speaker import SpeakerConfig, SpeakerEncoder
from quarkaudio_jax.codec.bicodec.vocos import VocosConfig, VocosDecoder, VocosEncoder
from quarkaudio_jax.codec.bicodec.wave_generator import WaveGenerator, WaveGeneratorConfig
from quarkaudio_jax.io.mel import mel_filters
from quarkaudio_jax.nn.stft import stft
from quarkaudio_jax.nn.window import hann_window


@dataclasses.dataclass(frozen=True)
class MelConfig:
    """Linear mel magnitudes for the speaker encoder, from centered frames with reflection at the ends."""

    n_fft: int
    window: int
    hop: int
    low: float
    bands: int


@dataclasses.dataclass(frozen=True)
class BiCodecConfig:
    """Configuration of BiCodec.

    feature_dim: width of the SSL features. codebook_size, codebook_dim: of the semantic quantizer. reference_seconds:
    length of the reference clip.
    """

    name: str
    sample_rate: int
    feature_dim: int
    mel: MelConfig
    encoder: VocosConfig
    codebook_size: int
    codebook_dim: int
    speaker: SpeakerConfig
    prenet: VocosConfig
    postnet: VocosConfig
    generator: WaveGeneratorConfig
    reference_seconds: float = 6.0

    @property
    def hop(self) -> int:
        """Samples per semantic token."""
        return self.generator.hop

    @property
    def frame_rate(self) -> float:
        """Semantic tokens per second."""
        return self.sample_rate / self.hop

    @property
    def reference_samples(self) -> int:
        """Samples of the reference clip, a multiple of the hop."""
        return int(self.sample_rate * self.reference_seconds) // self.hop * self.hop


BICODEC = BiCodecConfig(
    name="bicodec",
    sample_rate=16000,
    feature_dim=1024,
    mel=MelConfig(n_fft=1024, window=640, hop=320, low=10.0, bands=128),
    encoder=VocosConfig(384, 2048, 12, 1024),
    codebook_size=8192,
    codebook_dim=8,
    speaker=SpeakerConfig(out_dim=1024, latent_dim=128, num_tokens=32, levels=(4,) * 6),
    prenet=VocosConfig(384, 2048, 12, 1024),
    postnet=VocosConfig(384, 2048, 6, 1024),
    generator=WaveGeneratorConfig(1536, (8, 5, 4, 2), (16, 11, 8, 4)),
)
"""The published model (SparkAudio/Spark-TTS-0.5B, folder BiCodec)."""


def mel_frames(cfg: BiCodecConfig, wave_BxS: jax.Array) -> jax.Array:
    """Linear mel magnitudes (B, 1 + S // hop, bands) of a wave longer than half a frame."""
    mel, side = cfg.mel, cfg.mel.n_fft // 2
    padded = jnp.pad(wave_BxS, ((0, 0), (side, side)), mode="reflect")
    spectrum = stft(padded, mel.n_fft, mel.hop, hann_window(mel.window))
    return jnp.abs(spectrum) @ mel_filters(cfg.sample_rate, mel.n_fft, mel.bands, mel.low)


class BiCodec(nn.Module):
    """BiCodec; apply `encode` or `decode`. mask_BxT: valid frames of a padded batch."""

    cfg: BiCodecConfig
    dtype: Any = jnp.float32
    scan: bool = True

    def setup(self):
        """Creates the submodules and parameters."""
        cfg, dtype, scan = self.cfg, self.dtype, self.scan
        self.encoder = VocosEncoder(cfg.encoder, dtype, scan)
        self.quantizer = FactorizedQuantizer(cfg.encoder.out_dim, cfg.codebook_size, cfg.codebook_dim)
        self.speaker = SpeakerEncoder(cfg.speaker, dtype)
        self.prenet = VocosDecoder(cfg.prenet, True, dtype, scan)
        self.postnet = VocosDecoder(cfg.postnet, False, dtype, scan)
        self.generator = WaveGenerator(cfg.generator, dtype)

    def encode(
        self, features_BxTxD: jax.Array, reference_BxS: jax.Array, mask_BxT: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """(global tokens (B, 32), semantic tokens (B, T)), int32, of SSL features and a reference clip."""
        semantic = self.quantizer.encode(self.encoder(features_BxTxD, mask_BxT))
        return self.speaker.encode(mel_frames(self.cfg, reference_BxS)), semantic

    def latents(self, globals_BxN: jax.Array, semantic_BxT: jax.Array, mask_BxT: jax.Array | None = None):
        """(semantic frames (B, T, D), speaker embedding (B, D)); the generator takes their sum."""
        speaker_BxD = self.speaker.decode(globals_BxN)
        frames = self.prenet(self.quantizer.decode(semantic_BxT), mask_BxT, speaker_BxD)
        return frames, speaker_BxD

    def decode(self, globals_BxN: jax.Array, semantic_BxT: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        """The wave (B, T * hop) in [-1, 1] of tokens."""
        frames, speaker_BxD = self.latents(globals_BxN, semantic_BxT, mask_BxT)
        return self.generator(frames + speaker_BxD[:, None], mask_BxT)

    def all_outputs(self, features_BxTxD: jax.Array, reference_BxS: jax.Array) -> tuple[jax.Array, ...]:
        """(wave, predicted features, x-vector), which use all parameters."""
        globals_BxN, semantic = self.encode(features_BxTxD, reference_BxS)
        frames, speaker_BxD = self.latents(globals_BxN, semantic)
        x_vector = self.speaker.x_vector(mel_frames(self.cfg, reference_BxS))
        return self.generator(frames + speaker_BxD[:, None]), self.postnet(frames), x_vector
