"""Configuration of the simulated examples of every task.

Ranges are (low, high), drawn uniformly; probabilities are in [0, 1]. Those of `DegradeConfig` and `TalkersConfig` are the
published ones of UniSE where it states them; docs/choices.md says which are ours.
"""

import dataclasses

from quarkaudio_jax.config.values import (
    Amount,
    Count,
    Positive,
    PositiveRange,
    Range,
    Share,
    ShareRange,
    Size,
    SizeRange,
)


@dataclasses.dataclass(frozen=True)
class DegradeConfig:
    """Audio degradations of speech, with their probabilities, applied in this order.

    reverberation: rooms with sides of `room` meters (height `room_height`) and a reverberation time of `rt60` s; the
    target keeps the first `early` s after the direct sound. noise: at an SNR of `snr` dB. Then in random order:
    bandwidth (resampling to one of `bandwidths`, Hz), clipping (at the quantiles `clip_low` and `clip_high`),
    packet_loss (packets of `packet` s, a share `loss_rate` of them lost in bursts of up to `burst`). Last codec: one of
    `codecs`.
    """

    reverberation: Share = 0.3
    rt60: PositiveRange = (0.1, 0.6)
    room: PositiveRange = (3.0, 8.0)
    room_height: PositiveRange = (2.5, 4.0)
    early: Amount = 0.05
    noise: Share = 0.8
    snr: Range = (-5.0, 20.0)
    bandwidth: Share = 0.3
    bandwidths: tuple[Size, ...] = (4000, 8000, 16000)
    clipping: Share = 0.3
    clip_low: ShareRange = (0.0, 0.1)
    clip_high: ShareRange = (0.9, 1.0)
    packet_loss: Share = 0.3
    packet: Positive = 0.02
    loss_rate: ShareRange = (0.05, 0.25)
    burst: Size = 10
    codec: Share = 0.1
    codecs: tuple[str, ...] = ("mp3", "opus", "vorbis", "mu-law")


@dataclasses.dataclass(frozen=True)
class TalkersConfig:
    """The interfering talker and the enrollment recording.

    restoration: probability of an interfering talker, at an SIR of `restoration_sir` dB. Extraction and separation
    always have one, at `sir` dB. enrollment: length of the recording of the target's voice, in seconds.
    """

    restoration: Share = 0.2
    restoration_sir: Range = (2.0, 20.0)
    sir: Range = (-5.0, 5.0)
    enrollment: PositiveRange = (3.0, 5.0)


@dataclasses.dataclass(frozen=True)
class ConversionConfig:
    """Voice conversion.

    parallel: share of parallel pairs (the same words in two voices), where the speech has any. The source of all other
    examples is the target after voice perturbation: formants scaled by `formant` and pitch by `pitch` (or their
    inverses), and `equalizer_bands` peaks of `equalizer` dB. reference: length of the reference, in seconds.
    """

    parallel: Share = 0.5
    formant: PositiveRange = (1.05, 1.35)
    pitch: PositiveRange = (1.0, 1.6)
    equalizer: Range = (-9.0, 9.0)
    equalizer_bands: Count = 6
    reference: PositiveRange = (3.0, 5.0)


@dataclasses.dataclass(frozen=True)
class LassConfig:
    """Language-queried separation: mixtures of `sounds` captioned sounds; `snr`: dB of the target over the others."""

    sounds: SizeRange = (2, 3)
    snr: Range = (-10.0, 10.0)


@dataclasses.dataclass(frozen=True)
class SpeechEditConfig:
    """Weights of the kinds of speech edits.

    words: number of consecutive words in an edit. spoken: share of edits whose full sentence is synthesized again,
    where the speech allows it (embedded voices); otherwise words are cut and joined with `fade` s of cross-fade.
    """

    insert: Amount = 1.0
    delete: Amount = 1.0
    substitute: Amount = 1.0
    words: SizeRange = (1, 3)
    spoken: Share = 0.5
    fade: Amount = 0.01


@dataclasses.dataclass(frozen=True)
class AudioEditConfig:
    """Weights of the kinds of edits of a scene.

    sounds: number of sounds in a scene, each of `length` s and with a relative level of `level` dB. background: level of
    the room tone, dBFS. gain: dB of louder and softer edits. factor: of faster edits; slower ones use its inverse.
    """

    add: Amount = 1.0
    remove: Amount = 1.0
    replace: Amount = 1.0
    loudness: Amount = 1.0
    speed: Amount = 1.0
    reorder: Amount = 1.0
    sounds: SizeRange = (1, 3)
    length: PositiveRange = (1.0, 2.0)
    level: Range = (-6.0, 0.0)
    background: Range = (-75.0, -50.0)
    gain: Range = (6.0, 12.0)
    factor: PositiveRange = (1.25, 2.0)


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Simulation of the examples of every task.

    seconds: maximum length. peak: maximum absolute sample; source and target are scaled by the same factor. level: RMS
    level that target speech is normalized to, dBFS. final_peak: of restoration and extraction, bounds (low, high) of the
    target's peak after mixing, where none of the signals exceeds `high`; with a second talker, of the smallest and the largest
    peak (published for UniSE: 0.1 and 0.99). (0, 0): as mixed, up to `peak`.
    """

    seconds: Positive = 5.0
    peak: Positive = 0.99
    level: Range = (-35.0, -15.0)
    final_peak: ShareRange = (0.0, 0.0)
    degrade: DegradeConfig = DegradeConfig()
    talkers: TalkersConfig = TalkersConfig()
    conversion: ConversionConfig = ConversionConfig()
    lass: LassConfig = LassConfig()
    speech_editing: SpeechEditConfig = SpeechEditConfig()
    audio_editing: AudioEditConfig = AudioEditConfig()
