"""BiCodec's wiring: features and a reference clip to tokens, tokens to a wave."""

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
    """The speaker encoder's input: linear mel magnitudes, frames centered, ends reflected."""

    n_fft: int
    window: int
    hop: int
    low: float
    bands: int


@dataclasses.dataclass(frozen=True)
class BiCodecConfig:
    """feature_dim: of the SSL features. codebook_*: of the semantic quantizer. reference_seconds: of the voice's clip."""

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
        """Samples a semantic token stands for."""
        return self.generator.hop

    @property
    def frame_rate(self) -> float:
        """Semantic tokens a second."""
        return self.sample_rate / self.hop

    @property
    def reference_samples(self) -> int:
        """Samples of the clip that the global tokens are made from, whole frames."""
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
    """See `encode` and `decode`; a mask (B, T) marks the valid frames of a padded batch."""

    cfg: BiCodecConfig
    dtype: Any = jnp.float32
    scan: bool = True

    def setup(self):
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
        """(global tokens (B, 32), semantic tokens (B, T)), int32, of SSL features and a clip of the voice."""
        semantic = self.quantizer.encode(self.encoder(features_BxTxD, mask_BxT))
        return self.speaker.encode(mel_frames(self.cfg, reference_BxS)), semantic

    def latents(self, globals_BxN: jax.Array, semantic_BxT: jax.Array, mask_BxT: jax.Array | None = None):
        """(semantic frames (B, T, D) in that voice, the voice's vector (B, D)): the generator takes their sum."""
        voice_BxD = self.speaker.decode(globals_BxN)
        frames = self.prenet(self.quantizer.decode(semantic_BxT), mask_BxT, voice_BxD)
        return frames, voice_BxD

    def decode(self, globals_BxN: jax.Array, semantic_BxT: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
        """The wave (B, T * hop) in [-1, 1] of tokens."""
        frames, voice_BxD = self.latents(globals_BxN, semantic_BxT, mask_BxT)
        return self.generator(frames + voice_BxD[:, None], mask_BxT)

    def everything(self, features_BxTxD: jax.Array, reference_BxS: jax.Array) -> tuple[jax.Array, ...]:
        """(wave, predicted features, x-vector): every parameter has a part in it."""
        globals_BxN, semantic = self.encode(features_BxTxD, reference_BxS)
        frames, voice_BxD = self.latents(globals_BxN, semantic)
        x_vector = self.speaker.x_vector(mel_frames(self.cfg, reference_BxS))
        return self.generator(frames + voice_BxD[:, None]), self.postnet(frames), x_vector
