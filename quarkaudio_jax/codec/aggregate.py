"""Adaptive frame rate (H-Codec 1.5): groups of similar neighboring frames share one code.

Grouping follows FlexiCodec (arXiv:2510.00981): a group ends where the cosine similarity of neighboring semantic frames falls
to a threshold, or at a maximum length. A transformer then pools each group at a query after its frames. Shapes are static:
there are as many group slots as frames.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from quarkaudio_jax.nn.init import logical
from quarkaudio_jax.nn.mimi import MimiTransformer
from quarkaudio_jax.nn.norm import safe_norm


@dataclasses.dataclass(frozen=True)
class MimiConfig:
    """Shape of a Mimi transformer."""

    dim: int
    num_layers: int
    num_heads: int
    hidden: int
    layer_scale: float = 0.01


@dataclasses.dataclass(frozen=True)
class AggregationConfig:
    """Configuration of the grouping of frames.

    aggregator: pools the groups of each stream. bottleneck: processes the repeated code vectors before the decoder.
    threshold: cosine similarity at or below which a new group starts. max_group: maximum frames per group.
    train_thresholds: range of the threshold that training samples uniformly per item; None trains with `threshold`.
    mask_padding: False lets empty group slots take part in attention, up to the number of groups of the batch's longest
    item, as the original code does; items then depend on the batch.
    """

    aggregator: MimiConfig
    bottleneck: MimiConfig
    threshold: float
    max_group: int = 8
    train_thresholds: tuple[float, float] | None = (0.7, 1.0)
    mask_padding: bool = True


class Groups(NamedTuple):
    """segment_BxT: group of each frame. durations_BxG: frames per group, 0 in empty slots; G = T."""

    segment_BxT: jax.Array
    durations_BxG: jax.Array

    @property
    def mask_BxG(self) -> jax.Array:
        """Group slots in use."""
        return self.durations_BxG > 0


def neighbor_similarity(x_BxTxD: jax.Array) -> jax.Array:
    """Cosine similarity of each frame with the next, (B, T - 1) float32."""
    x = x_BxTxD.astype(jnp.float32)
    x = x / jnp.maximum(safe_norm(x, keepdims=True), 1e-8)
    return (x[:, 1:] * x[:, :-1]).sum(-1)


def group_frames(
    similarity_BxT: jax.Array,
    threshold,
    max_group,
    mask_BxT: jax.Array | None = None,
    starts_BxT: jax.Array | None = None,
) -> Groups:
    """Groups from the similarity of neighbors (B, T - 1).

    A group starts where the similarity is at or below `threshold` (a number, or (B,)), at `starts_BxT`, and every
    `max_group` frames after such a boundary. mask_BxT: valid frames, at the start of each item.
    """
    batch, length = similarity_BxT.shape[0], similarity_BxT.shape[1] + 1
    threshold = jnp.broadcast_to(jnp.asarray(threshold, jnp.float32), (batch,))
    boundary = jnp.pad(similarity_BxT <= threshold[:, None], ((0, 0), (1, 0)), constant_values=True)
    if starts_BxT is not None:
        boundary = boundary | starts_BxT
    time_T = jnp.arange(length)
    # float32 is exact below 2^24 frames; ONNX has no cumulative maximum of integers.
    group_start_BxT = jax.lax.cummax(jnp.where(boundary, time_T, 0).astype(jnp.float32), axis=1)
    since = time_T - group_start_BxT.astype(jnp.int32)
    segment_BxT = jnp.cumsum(since % max_group == 0, axis=1) - 1
    member = jnp.ones((batch, length), jnp.int32) if mask_BxT is None else mask_BxT.astype(jnp.int32)
    durations = jnp.zeros((batch, length), jnp.int32).at[jnp.arange(batch)[:, None], segment_BxT].add(member)
    return Groups(segment_BxT.astype(jnp.int32), durations)


def segments_of(durations_BxG: jax.Array, num_frames: int) -> jax.Array:
    """The group of each of `num_frames` frames, (B, T); frames after the last group belong to slot G - 1."""
    ends_BxG = jnp.cumsum(durations_BxG, axis=1)
    segment = (jnp.arange(num_frames)[None, :, None] >= ends_BxG[:, None, :]).sum(-1)
    return jnp.minimum(segment, durations_BxG.shape[1] - 1).astype(jnp.int32)


def expand(x_BxGxD: jax.Array, segment_BxT: jax.Array) -> jax.Array:
    """Repeats each group's value for its frames, (B, T, D)."""
    return jnp.take_along_axis(x_BxGxD, segment_BxT[..., None], axis=1)


class QueryAggregator(nn.Module):
    """Pools groups of frames, (B, T, D) -> (B, G, D), at a query (group mean + learned vector) after each group.

    Positions count the interleaved frames and queries. The output of empty slots is 0.
    """

    cfg: AggregationConfig
    dtype: Any = jnp.float32
    scan: bool = True
    remat: str = "none"

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, groups: Groups, mask_BxT: jax.Array | None = None) -> jax.Array:
        batch, length, dim = x_BxTxD.shape
        cfg, (segment, durations) = self.cfg.aggregator, groups
        embedding = self.param("query", logical(nn.initializers.normal(0.02), "norm"), (dim,))
        valid = jnp.ones((batch, length), bool) if mask_BxT is None else mask_BxT
        x = jnp.where(valid[..., None], x_BxTxD, 0.0).astype(jnp.float32)
        rows = jnp.arange(batch)[:, None]
        sums = jnp.zeros((batch, durations.shape[1], dim), jnp.float32).at[rows, segment].add(x)
        queries = sums / jnp.maximum(durations, 1)[..., None] + embedding

        num_groups = groups.mask_BxG.sum(-1, keepdims=True)
        time, slot = jnp.arange(length), jnp.arange(durations.shape[1])
        frame_at = jnp.where(valid, time + segment, time + num_groups)
        query_at = jnp.where(groups.mask_BxG, jnp.cumsum(durations, axis=1), length) + slot
        sequence = jnp.zeros((batch, length + durations.shape[1], dim), jnp.float32)
        sequence = sequence.at[rows, frame_at].set(x).at[rows, query_at].set(queries)
        if self.cfg.mask_padding:
            used = valid.sum(-1, keepdims=True) + num_groups
        else:
            used = jnp.full((batch, 1), length) + num_groups.max()
        mask = jnp.arange(sequence.shape[1]) < used
        transformer = MimiTransformer(
            cfg.dim,
            dim,
            cfg.num_layers,
            cfg.num_heads,
            cfg.hidden,
            cfg.layer_scale,
            dtype=self.dtype,
            scan=self.scan,
            remat=self.remat,
            name="transformer",
        )
        out = transformer(sequence.astype(self.dtype), mask).astype(jnp.float32)
        return jnp.where(groups.mask_BxG[..., None], out[rows, query_at], 0.0)
