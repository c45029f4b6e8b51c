"""Normalization of tensor names in weight files to those of the public classes."""

import re
from collections.abc import Mapping
from typing import Any

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.rules import listed


class WeightFileError(QuarkAudioError, ValueError):
    """A weight file that can't be read or is not safe to read."""


WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts of names added by DataParallel, torch.compile, FSDP and activation checkpointing."""

OWNERS = ("generator", "codec", "dnn", "model", "net")
"""Attributes of training modules that hold the model; tensors beside them are training state."""

BUFFERS = re.compile(
    r"(?:.*\.)?(?:num_batches_tracked|position_ids|token_type_ids|relative_position_index|inv_freq"
    r"|(?:cos|sin)_cached|total_ops|total_params)"
)
"""Counters, indices and tables that are computed from the configuration."""

WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""New names of PyTorch's weight normalization -> old names, which the rules use."""


def canonical(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(tensors by the names of the public classes, messages on ignored tensors).

    Removes prefixes of wrappers in any order and nesting. WeightFileError if two names become equal.
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, value in tensors.items():
        plain = WRAPPERS.sub("", name)
        for new, old in WEIGHT_NORM.items():
            plain = plain.removesuffix(new) + old if plain.endswith(new) else plain
        if plain in found:
            raise WeightFileError(f"{found[plain][0]} and {name} are both {plain}; keep one of them")
        found[plain] = name, value
    notes: list[str] = []
    removed = ""
    while owner := next((o for o in OWNERS if any(name.startswith(f"{o}.") for name in found)), ""):
        prefix = f"{owner}."
        beside = [name for name in found if not name.startswith(prefix)]
        removed += prefix
        if beside:
            notes.append(f"{len(beside)} tensors beside {removed}* are ignored: {listed(beside, 4)}")
        found = {name.removeprefix(prefix): item for name, item in found.items() if name.startswith(prefix)}
    if buffers := [name for name in found if BUFFERS.fullmatch(name)]:
        notes.append(f"{len(buffers)} buffers that the model computes itself are ignored: {listed(buffers, 4)}")
    return {name: value for name, (_, value) in found.items() if name not in buffers}, notes
