"""AdamW with clipping and a schedule."""

import optax

from quarkaudio_jax.schema import OptimConfig

SCHEDULES = ("constant", "cosine", "exponential")


def make_schedule(cfg: OptimConfig, steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then the schedule, never below lr * min_ratio."""
    rest = max(steps - cfg.warmup_steps, 1)
    if cfg.schedule == "constant":
        after = optax.constant_schedule(cfg.lr)
    elif cfg.schedule == "cosine":
        after = optax.cosine_decay_schedule(cfg.lr, rest, alpha=cfg.min_ratio)
    elif cfg.schedule == "exponential":
        after = optax.exponential_decay(cfg.lr, 1, cfg.decay, end_value=cfg.lr * cfg.min_ratio)
    else:
        raise ValueError(f"schedule {cfg.schedule!r} is not one of {', '.join(SCHEDULES)}")
    if cfg.warmup_steps == 0:
        return after
    warmup = optax.linear_schedule(cfg.lr / cfg.warmup_steps, cfg.lr, cfg.warmup_steps)
    return optax.join_schedules([warmup, after], [cfg.warmup_steps])


def make_optimizer(cfg: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (arXiv:1711.05101) on every parameter."""
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        optax.adamw(make_schedule(cfg, steps), cfg.b1, cfg.b2, weight_decay=cfg.weight_decay),
    )
