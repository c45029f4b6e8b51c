"""The configuration of simulation and of `prepare`.

Ranges are (low, high), drawn uniformly; probabilities lie in [0, 1]. Those of `DegradeConfig`
and `TalkersConfig` are the published ones of UniSE where it states them; docs/choices.md says
which are ours.
"""

import dataclasses

from quarkaudio_jax.config.train import FeatureConfig
from quarkaudio_jax.config.values import (
    Amount,
    Count,
    Positive,
    PositiveRange,
    Range,
    Seed,
    Share,
    ShareRange,
    Size,
    SizeRange,
)


@dataclasses.dataclass(frozen=True)
class DegradeConfig:
    """What speech goes through on its way into a bad recording, in this order.

    reverberation: rooms of `room` meters along each side (low, high; height `room_height`) with
    a reverberation time of `rt60` s; the target keeps the first `early` s after the direct
    sound. noise: at `snr` dB. Then in random order bandwidth (one of `bandwidths`, Hz of
    sampling), clipping (at quantiles of the samples), packet_loss (`packet` s each, a share
    `loss_rate` of them in bursts of up to `burst`); last codec: one of `codecs`.
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
    """A second talker. restoration: how often, at `restoration_sir` dB under the target.

    In extraction and separation there always is one, at `sir` dB. enrolment: seconds of the
    target's voice that are given (low, high).
    """

    restoration: Share = 0.2
    restoration_sir: Range = (2.0, 20.0)
    sir: Range = (-5.0, 5.0)
    enrolment: PositiveRange = (3.0, 5.0)


@dataclasses.dataclass(frozen=True)
class ConversionConfig:
    """Voice conversion. parallel: share of pairs (same words, two voices) where the speech has any.

    Otherwise the source is the target with its voice disguised: formants scaled by `formant`
    and pitch by `pitch` (each or its inverse), `equalizer_bands` peaks of `equalizer` dB.
    """

    parallel: Share = 0.5
    formant: PositiveRange = (1.05, 1.35)
    pitch: PositiveRange = (1.0, 1.6)
    equalizer: Range = (-9.0, 9.0)
    equalizer_bands: Count = 6
    reference: PositiveRange = (3.0, 5.0)


@dataclasses.dataclass(frozen=True)
class LassConfig:
    """Mixtures of `sounds` captioned sounds (low, high), the others at `snr` dB under or over the one asked for."""

    sounds: SizeRange = (2, 3)
    snr: Range = (-10.0, 10.0)


@dataclasses.dataclass(frozen=True)
class SpeechEditConfig:
    """Weights of the edits; `words`: how many neighboring words an edit covers (low, high).

    spoken: share of edits in which the whole sentence is spoken again, where the speech can be
    (embedded voices); otherwise words are cut and joined, with `fade` s of cross-fade.
    """

    insert: Amount = 1.0
    delete: Amount = 1.0
    substitute: Amount = 1.0
    words: SizeRange = (1, 3)
    spoken: Share = 0.5
    fade: Amount = 0.01


@dataclasses.dataclass(frozen=True)
class AudioEditConfig:
    """Weights of the edits of scenes of `sounds` sounds (low, high), each of `length` s, `level` dB apart.

    background: dBFS of the room tone. gain: dB of louder and softer. factor: of faster; its inverse is slower's.
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
    """How examples of every task are made. seconds: the longest. peak: none is louder (both sides scaled alike).

    level: dBFS (root mean square) that target speech is brought to.
    """

    seconds: Positive = 5.0
    peak: Positive = 0.99
    level: Range = (-35.0, -15.0)
    degrade: DegradeConfig = DegradeConfig()
    talkers: TalkersConfig = TalkersConfig()
    conversion: ConversionConfig = ConversionConfig()
    lass: LassConfig = LassConfig()
    speech_editing: SpeechEditConfig = SpeechEditConfig()
    audio_editing: AudioEditConfig = AudioEditConfig()


@dataclasses.dataclass(frozen=True)
class SourcesConfig:
    """Where sound comes from: manifests (.jsonl), folders, or embedded:KIND, by commas.

    embedded:KIND/train and embedded:KIND/test share no voice and no sentence.

    noise: empty means events and music. rirs: room responses of your own instead of simulated
    rooms.
    """

    speech: str = "embedded:speech"
    events: str = "embedded:events"
    music: str = "embedded:music"
    noise: str = ""
    rirs: str = ""
    tfds_dir: str = ""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Where text features come from.

    recipe: a name of `text.features`. weights: the Hugging Face folder or hub name of its model
    (empty: the recipe's own).
    """

    recipe: str = "bytes"
    weights: str = ""


@dataclasses.dataclass(frozen=True)
class TaskExamples:
    """How many examples of each task (and, for codec training, clips of each domain) to prepare."""

    restoration: Count = 0
    extraction: Count = 0
    reverse_extraction: Count = 0
    separation: Count = 0
    conversion: Count = 0
    lass: Count = 0
    speech_editing: Count = 0
    audio_editing: Count = 0
    codec_speech: Count = 0
    codec_music: Count = 0
    codec_events: Count = 0


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What `prepare` writes.

    codec: checkpoint of the codec whose codes the targets become, codec_features: weights of its
    SSL model (see `load_codec`); neither is needed for the domains of codec training. features:
    stored for source and reference, `feature_width` wide if the recipe has no width of its own,
    as `dtype` (float16 or bfloat16); text: features of the text. shard: examples a file. batch_size: examples that SSL
    model and codec see at once. workers: processes that simulate (0: threads of this one).
    sample_rate and clip_seconds: of the audio of codec training; longer clips are cut.
    """

    seed: Seed = 0
    codec: str = ""
    codec_features: str = ""
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    feature_width: Size = 768
    text: TextConfig = TextConfig()
    dtype: str = "float16"
    examples: TaskExamples = TaskExamples()
    sources: SourcesConfig = SourcesConfig()
    simulation: SimulationConfig = SimulationConfig()
    sample_rate: Size = 48000
    clip_seconds: Positive = 20.0
    shard: Size = 256
    batch_size: Size = 8
    workers: Count = 0
    threads: Count = 2


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a folder of prepared examples is made with; a language model needs the same again to be used.

    codec: its variant, codec_weights: a digest of them. codebooks: codes of each, acoustic first.
    max_duration: frames a code of an adaptive codec stands for at most (0: a fixed rate).
    feature_width, text_width: of stored features (text: 0 for bytes), kept as `dtype`. seconds:
    the longest example. tasks: those that were trained (empty in the folder itself).
    """

    codec: str = ""
    codec_weights: int = 0
    codebooks: tuple[int, ...] = ()
    max_duration: int = 0
    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    feature_width: int = 0
    text: TextConfig = TextConfig()
    text_width: int = 0
    dtype: str = "float16"
    seconds: float = 0.0
    tasks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """How often each task comes in training, relative to the others; 0 leaves it out."""

    restoration: Amount = 1.0
    extraction: Amount = 1.0
    reverse_extraction: Amount = 1.0
    separation: Amount = 1.0
    conversion: Amount = 1.0
    lass: Amount = 1.0
    speech_editing: Amount = 1.0
    audio_editing: Amount = 1.0


@dataclasses.dataclass(frozen=True)
class LMDataConfig:
    """Prepared examples for the language model.

    folder: the output of `prepare`. batch_size: rows a step over all hosts, each `length`
    positions, into which as many examples are packed as fit; `bins` rows are packed at a time
    (more leave less padding and take more memory). heldout: share of each task's examples kept
    out of training. prefetch: batches made ahead; workers: processes that make them (0: a thread of
    this one). change_mixture: let a resumed run go on with other weights than it began with.
    """

    folder: str = ""
    weights: TaskWeights = TaskWeights()
    batch_size: Size = 16
    length: Size = 1536
    bins: Size = 32
    heldout: Share = 0.01
    workers: Count = 0
    prefetch: Count = 2
    strict: bool = False
    change_mixture: bool = False
