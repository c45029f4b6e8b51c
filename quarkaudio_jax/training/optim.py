"""AdamW with clipping and a schedule."""

import jax.numpy as jnp
import optax

from quarkaudio_jax.config import OptimConfig
from quarkaudio_jax.errors import UserError

SCHEDULES = ("constant", "cosine", "exponential")


def make_schedule(cfg: OptimConfig, steps: int) -> optax.Schedule:
    """The learning rate schedule: warm-up, then decay, never below lr * min_ratio."""
    rest = max(steps - cfg.warmup_steps, 1)
    if cfg.schedule == "constant":
        after = optax.constant_schedule(cfg.lr)
    elif cfg.schedule == "cosine":
        after = optax.cosine_decay_schedule(cfg.lr, rest, alpha=cfg.min_ratio)
    elif cfg.schedule == "exponential":
        after = optax.exponential_decay(cfg.lr, 1, cfg.decay, end_value=cfg.lr * cfg.min_ratio)
    else:
        raise UserError(f"schedule {cfg.schedule!r} is not one of {', '.join(SCHEDULES)}")
    if cfg.warmup_steps == 0:
        return after
    if cfg.warmup == "linear":
        warmup = optax.linear_schedule(cfg.lr / cfg.warmup_steps, cfg.lr, cfg.warmup_steps)
    elif cfg.warmup == "cosine":
        warmup = _cosine_rise(cfg.lr, cfg.warmup_steps)
    else:
        raise UserError(f"warmup {cfg.warmup!r} is not linear or cosine")
    return optax.join_schedules([warmup, after], [cfg.warmup_steps])


def _cosine_rise(lr: float, steps: int) -> optax.Schedule:
    """Half a cosine from 0 to `lr`, above 0 from the first step."""
    return lambda step: lr * 0.5 * (1.0 - jnp.cos(jnp.pi * jnp.minimum((step + 1) / steps, 1.0)))


def make_optimizer(cfg: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm (0: none), then AdamW (arXiv:1711.05101) on every parameter."""
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip) if cfg.clip else optax.identity(),
        optax.adamw(make_schedule(cfg, steps), cfg.b1, cfg.b2, weight_decay=cfg.weight_decay),
    )
