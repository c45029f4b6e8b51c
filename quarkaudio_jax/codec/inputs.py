"""Validation of a codec's inputs on the host: waves, lengths, codes (NumPy only)."""

import math
import numbers
import operator
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from quarkaudio_jax.codec.hcodec import HCodecConfig
from quarkaudio_jax.errors import UserError
from quarkaudio_jax.types import Codes, Wave

LOUDEST = 100.0
"""Largest magnitude accepted; larger samples are integers that were cast to float without scaling."""

ITEMS_A_SAMPLE = 16
"""Items per sample of an item above which a batch is taken for a recording with its channels last."""

RATES = (1, 10_000_000)
"""Lowest and highest sample rate accepted, in Hz."""

INTEGER_SCALES = {"int8": "x / 128", "uint8": "(x - 128.0) / 128", "int16": "x / 32768", "int32": "x / 2147483648"}


def as_array(value: Any, what: str) -> np.ndarray:
    """Converts a list of numbers or an array of NumPy, JAX or PyTorch (CPU); UserError for anything else."""
    if isinstance(value, str | bytes | os.PathLike):
        raise UserError(f"{what} is {value!r}; it should be an array")
    try:
        return np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{what} is a {type(value).__name__} that can't be read as one array ({reason})") from error


def as_int(value: Any, what: str, low: int, high: int, allowed: str = "it should be an integer,") -> int:
    """Checks an integer in a range; UserError otherwise. allowed: the message's text before the range."""
    try:
        number = low - 1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        raise UserError(f"{what} is {value!r}; {allowed} {low} to {high}")
    return number


def as_number(value: Any, what: str) -> float:
    """Checks a number that is not NaN; UserError otherwise."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or math.isnan(value):
        raise UserError(f"{what} is {value!r}; it should be a number")
    return float(value)


def as_counts(value: Any, what: str, batch: int, low: int, high: int | None) -> np.ndarray:
    """Checks one integer per item in a range (high None: no limit), (B,) int64; UserError otherwise."""
    array = as_array(value, what)
    if array.dtype.kind not in "iu":
        raise UserError(f"{what} are {array.dtype}; they should be integers")
    if array.shape != (batch,):
        raise UserError(f"{what} of shape {array.shape} do not fit a batch of {batch}: one number for each item")
    if (array < low).any() or (high is not None and (array > high).any()):
        allowed = f"{low} or more" if high is None else f"{low} to {high}"
        raise UserError(f"{what} {array[:20].tolist()} do not fit a batch of {batch} items: {allowed} each")
    return array.astype(np.int64)


def as_rate(value: Any, what: str = "sample_rate") -> int:
    """Checks a sample rate in Hz; UserError otherwise."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value != int(value) or not RATES[0] <= value <= RATES[1]:
        raise UserError(f"{what} is {value!r}; it should be a whole number of Hz, {RATES[0]} to {RATES[1]}")
    return int(value)


def as_samples(wave: Any, what: str = "wave") -> np.ndarray:
    """Converts floating-point samples of any shape to float32; UserError for other types."""
    if isinstance(wave, str | bytes | os.PathLike):
        raise UserError(
            f"{what} is {wave!r}, not samples. Read the file first: samples, sample_rate = soundfile.read(path), then "
            "give samples (of several channels, samples.mean(axis=1)) and sample_rate"
        )
    pair = isinstance(wave, tuple | list) and len(wave) == 2
    if pair and sum(isinstance(part, numbers.Number) for part in wave) == 1:
        raise UserError(f"{what} is a pair of samples and a sample rate; give them one after the other")
    array = as_array(wave, what)
    if array.dtype.kind in "iu":
        scaled = INTEGER_SCALES.get(array.dtype.name, "x / 32768 for 16 bits")
        raise UserError(f"{what} holds integers ({array.dtype}); bring them to floats in [-1, 1]: {scaled}")
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        kind = type(wave).__name__ if array.dtype == object else array.dtype
        raise UserError(f"{what} is of type {kind}; it should be an array of floats in [-1, 1]")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def check_level(samples: np.ndarray, what: str = "wave") -> None:
    """Raises UserError for samples that are not finite, or too large for audio in [-1, 1]."""
    if not samples.size:
        return
    peak = float(np.abs(samples).max())
    if not math.isfinite(peak):
        index = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise UserError(f"{what} holds NaN or infinite samples, the first at {index}; mend or leave out the recording")
    if peak > LOUDEST:
        raise UserError(f"{what} reaches {peak:g}, but audio lies in [-1, 1]: divide 16-bit integers by 32768")


def check_wave(wave: Any, what: str = "wave") -> np.ndarray:
    """Checks one recording (S,), float32; UserError otherwise."""
    samples_S = as_samples(wave, what)
    if samples_S.ndim != 1 or not len(samples_S):
        raise UserError(f"{what} has shape {samples_S.shape}; it should be (samples,), not empty: mix channels first")
    check_level(samples_S, what)
    return samples_S


def check_pair(value: Any, what: str) -> tuple[Any, Any]:
    """Checks a pair (samples, rate), but not its values; UserError otherwise."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise UserError(f"{what} is a {type(value).__name__}; it should be a pair (samples, sample rate in Hz)")
    return value[0], value[1]


def check_waves(
    wave: Any, sample_rate: Any, lengths: Any, default_rate: int, channels: int = 1
) -> tuple[list[np.ndarray], int]:
    """Checks the input of `Codec.encode`: (valid samples (S,) of each item, float32, sample rate); UserError otherwise.

    channels: with 2, items are (S, 2): of recordings (S, 2), batches (B, S, 2), or mono ones, whose channel is doubled.
    """
    is_batch = isinstance(wave, Wave) or lengths is not None
    if isinstance(wave, Wave):
        if sample_rate not in (None, wave.sample_rate) or lengths is not None:
            raise UserError("a Wave has its own sample_rate and lengths_B; leave the arguments out")
        wave, sample_rate, lengths = wave.samples_BxS, wave.sample_rate, wave.lengths_B
    samples = as_samples(wave)
    stereo = channels > 1 and samples.ndim in (2, 3) and samples.shape[-1] == channels
    if stereo and samples.size:
        samples_BxSxC = samples if samples.ndim == 3 else samples[None]
        return _checked_items(samples_BxSxC, samples.ndim == 2, sample_rate, lengths, default_rate)
    if channels > 1 and samples.ndim == 2 and len(samples) == channels and not is_batch:
        raise UserError(
            f"wave has shape {samples.shape}; of a stereo recording give wave.T, (samples, 2); a batch of two mono "
            "recordings needs lengths"
        )
    if channels > 1 and (samples.ndim not in (1, 2) or samples.size == 0):
        raise UserError(
            f"wave has shape {samples.shape}; it should be (samples, 2) or (batch, samples, 2), left and right last, or "
            "mono, (samples,) or (batch, samples), and not empty"
        )
    if samples.ndim not in (1, 2) or samples.size == 0:
        hint = (
            f": wave[:, 0] leaves out axis 1 of {samples.shape}" if samples.ndim == 3 and samples.shape[1] == 1 else ""
        )
        raise UserError(f"wave has shape {samples.shape}; it should be (samples,) or (batch, samples), not empty{hint}")
    samples_BxS = np.atleast_2d(samples)
    batch, length = samples_BxS.shape
    if lengths is None and batch > ITEMS_A_SAMPLE * length:
        raise UserError(
            f"wave has shape {samples.shape}, which is (samples, channels); it should be (samples,) or (batch, samples): "
            "wave.mean(axis=1) mixes the channels, wave.T makes a batch of them (a batch so short needs lengths)"
        )
    rows, rate = _checked_items(samples_BxS, samples.ndim == 1, sample_rate, lengths, default_rate)
    return [as_channels(row, channels) for row in rows], rate


def _checked_items(
    samples: np.ndarray, single: bool, sample_rate: Any, lengths: Any, default_rate: int
) -> tuple[list[np.ndarray], int]:
    """(valid samples of each item, sample rate) of a batch (B, S) or (B, S, C). single: it is one recording."""
    batch, length = samples.shape[:2]
    rate = default_rate if sample_rate is None else as_rate(sample_rate)
    counts = np.full(batch, length) if lengths is None else as_counts(lengths, "lengths", batch, 1, length)
    rows = [row[:count] for row, count in zip(samples, counts, strict=True)]
    for index, row in enumerate(rows):
        check_level(row, "wave" if single else f"item {index} of wave")
    return rows, rate


def as_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Samples (S,) or (S, C) with that many channels: one channel is repeated, other numbers of them are not changed."""
    return samples if channels == 1 or samples.ndim == 2 else np.repeat(samples[:, None], channels, axis=1)


def checked_reader(read: Callable[[int, int], Any], channels: int = 1) -> Callable[[int, int], np.ndarray]:
    """Wraps read(start, stop) to check its samples (S,); with 2 channels (S, 2), or (S,), which is doubled."""

    def checked(start: int, stop: int) -> np.ndarray:
        samples = as_samples(read(start, stop), "what read gives")
        allowed = ((), (channels,)) if channels > 1 else ((),)
        if samples.ndim == 0 or samples.shape[1:] not in allowed or len(samples) > stop - start:
            wanted = " or ".join(str((stop - start, *rest)) for rest in allowed)
            raise UserError(
                f"read({start}, {stop}) gives shape {samples.shape}; it should be {wanted}, fewer at the end"
            )
        check_level(samples, "the recording")
        return as_channels(samples, channels)

    return checked


def check_codes(cfg: HCodecConfig, codes: Any) -> tuple[list[np.ndarray], np.ndarray, np.ndarray | None]:
    """Checks codes: (streams, each (B, T, K), lengths (B,), durations (B, T) or None), int32.

    Values beyond an item's length are ignored and returned as 0. A stream may have the first codebooks only, and the spatial
    one may be missing. UserError for codes that the codec can't decode.
    """
    if not isinstance(codes, Codes):
        raise UserError(
            f"codes are a {type(codes).__name__}; they should be Codes(acoustic_BxTxK, semantic_BxTxK, frame_rate), as "
            "encode gives them"
        )
    rate = codes.frame_rate
    if not isinstance(rate, numbers.Real) or not math.isclose(rate, cfg.frame_rate, rel_tol=1e-3):
        raise UserError(f"codes have frame_rate {rate!r}; {cfg.name} has {cfg.frame_rate:g}: give its own codes")
    found = {"acoustic": codes.acoustic_BxTxK, "semantic": codes.semantic_BxTxK}
    if codes.spatial_BxTxK is not None:
        if cfg.spatial is None:
            raise UserError(
                f"codes have a spatial stream, but {cfg.name} is a mono codec: give the codec that made them"
            )
        found["spatial"] = codes.spatial_BxTxK
    quantizers = {name: cfg.quantizers[name] for name in found}
    streams = [_check_stream(found[name], f"{name} codes", quantizers[name].num_codebooks) for name in found]
    batch, rows = streams[0].shape[:2]
    for name, stream in zip(found, streams, strict=True):
        if stream.shape[:2] != (batch, rows):
            raise UserError(
                f"acoustic codes are {streams[0].shape}, {name} codes {stream.shape}; batch and frames should be equal"
            )
    durations = None
    if codes.durations_BxT is not None:
        durations = _check_durations(cfg, codes.durations_BxT, (batch, rows))
    if codes.lengths_B is not None:
        lengths = as_counts(codes.lengths_B, "lengths_B", batch, 0, rows)
    else:
        lengths = np.full(batch, rows) if durations is None else (durations != 0).sum(1)
    valid_BxT = np.arange(rows) < lengths[:, None]
    for (name, quantizer), stream in zip(quantizers.items(), streams, strict=True):
        _check_range(stream, valid_BxT[..., None], 0, quantizer.codebook_size - 1, f"{name} codes")
    streams = [np.where(valid_BxT[..., None], stream, 0).astype(np.int32) for stream in streams]
    if durations is not None:
        _check_range(durations, valid_BxT, 1, cfg.aggregation.max_group, "durations_BxT")
        durations = np.where(valid_BxT, durations, 0).astype(np.int32)
    return streams, lengths.astype(np.int32), durations


POSITION = {"azimuth": (-180, 360), "elevation": (-90, 90), "distance": (0, 5)}
"""Lowest and highest value of each coordinate, azimuth and elevation in degrees, distance in m."""


def check_position(azimuth: Any, elevation: Any, distance: Any, batch: int) -> np.ndarray:
    """Checks a position, each coordinate a number or one for each item: (B, 3) float32; UserError otherwise."""
    columns = []
    for (name, (low, high)), value in zip(POSITION.items(), (azimuth, elevation, distance), strict=True):
        array = as_array(value, name)
        if array.dtype.kind not in "iuf" or array.shape not in ((), (batch,)):
            raise UserError(f"{name} is {value!r}; it should be a number, or one for each of {batch} items")
        if not ((array >= low) & (array <= high)).all():
            unit = "m" if name == "distance" else "degrees"
            raise UserError(f"{name} is {value!r}; it should be {low} to {high} {unit}")
        columns.append(np.broadcast_to(array, batch))
    return np.stack(columns, axis=-1).astype(np.float32)


def _check_stream(value: Any, what: str, num_codebooks: int) -> np.ndarray:
    """Checks an integer array (B, T, K) with 1 to `num_codebooks` codebooks."""
    array = as_array(value, what)
    if array.dtype.kind not in "iu":
        raise UserError(f"{what} are {array.dtype}; they should be integers")
    shape = array.shape
    layout = f"(batch, frames, codebooks) with 1 to {num_codebooks} codebooks"
    if len(shape) != 3:
        hint = "; codes[None] makes a batch of one recording" if len(shape) == 2 else ""
        raise UserError(f"{what} have shape {shape}; it should be {layout}{hint}")
    if not 1 <= shape[2] <= num_codebooks or not array.size:
        swapped = shape[2] > num_codebooks >= shape[1] >= 1
        hint = "; this looks like (batch, codebooks, frames): codes.swapaxes(1, 2)" if swapped else ""
        raise UserError(f"{what} have shape {shape}; it should be {layout}, not empty{hint}")
    return array


def _check_durations(cfg: HCodecConfig, value: Any, shape: tuple[int, int]) -> np.ndarray:
    if cfg.aggregation is None:
        raise UserError(f"durations_BxT belong to codes of an adaptive codec; {cfg.name} has a fixed frame rate")
    durations = as_array(value, "durations_BxT")
    if durations.dtype.kind not in "iu":
        raise UserError(f"durations_BxT are {durations.dtype}; they should be integers")
    if durations.shape != shape:
        raise UserError(f"durations_BxT have shape {durations.shape}; the codes have {shape}, a duration for each")
    return durations


def _check_range(array: np.ndarray, valid: np.ndarray, low: int, high: int, what: str) -> None:
    wrong = ((array < low) | (array > high)) & valid
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise UserError(f"{what} hold {int(array[index])} at {index}; they should be {low} to {high}")
