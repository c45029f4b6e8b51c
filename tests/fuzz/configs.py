"""Configurations: experiments as Python, resolved ones as JSON, and fields set by flags; read as `train` reads them."""

import functools
import json
import pathlib
import random

from quarkaudio_jax.cli import config_flags, options
from quarkaudio_jax.config import TrainConfig, from_config_dict, to_dict
from quarkaudio_jax.errors import QuarkAudioError
from tests.conftest import ROOT
from tests.fuzz.mutations import FLOATS, NUMBERS, TEXTS, damaged, edited, json_bytes, rewritten

EXPERIMENTS = ("codec48k", "lm")


@functools.cache
def sources() -> dict[str, str]:
    """{name: Python} of whole experiments."""
    return {name: (ROOT / "configs" / f"{name}.py").read_text() for name in EXPERIMENTS}


@functools.cache
def resolved() -> tuple[dict, ...]:
    """Experiments as a run writes them to its config.json."""
    from quarkaudio_jax.configs import codec48k, lm

    return tuple(to_dict(from_config_dict(module.get_config("tiny"))) for module in (codec48k, lm))


@functools.cache
def fields() -> tuple[str, ...]:
    """Every field of the first experiment, dotted."""

    def dotted(value, prefix):
        return (
            (name for key, inner in value.items() for name in dotted(inner, f"{prefix}.{key}"))
            if isinstance(value, dict)
            else [prefix]
        )

    return tuple(dotted(resolved()[0], "config"))


def make(rng: random.Random) -> dict[str, bytes]:
    """A file for --config, and `flags`, one a line."""
    action, flags, variant = rng.random(), [], rng.choice(("tiny", "large", "nothing", ""))
    if action < 0.5:
        text = rewritten(rng, rng.choice(list(sources().values())))
        name, data = "c.py", text.encode()
        if rng.random() < 0.1:
            data = text.encode("utf-16") if rng.random() < 0.5 else b"\xff\x00" + data
    elif action < 0.8:
        name, data, variant = "config.json", json_bytes(rng, edited(rng, rng.choice(resolved())), indent=1), ""
        if rng.random() < 0.15:
            data = damaged(rng, data)
    else:
        name, data, variant = "c.py", sources()["codec48k"].encode(), "tiny"
    if action >= 0.8 or rng.random() < 0.2:
        for _ in range(rng.randint(1, 3)):
            field = rng.choice(fields()) if rng.random() < 0.8 else rng.choice(("config", "config.optim.learning_rate"))
            value = str(rng.choice((*NUMBERS, *FLOATS, *TEXTS, "1e4", "yes", "no", "None", "(1,)", "[1, 2")))
            flags.append(f"--{field}={value}".replace("\n", " "))
    return {name: data, "flags": "\n".join([variant, *flags]).encode()}


def read(path: pathlib.Path) -> None:
    """As `train` reads its --config."""
    variant, *flags = (path.parent / "flags").read_text().split("\n")
    config = f"--config={path}" + (f":{variant}" if variant else "")
    try:
        cfg, _ = config_flags.read_config(options.Parser("quarkaudio train"), [config, *flags], TrainConfig)
    except SystemExit as error:  # what the verb would end with: one line
        if error.code != 2 or "\n" in str(error).strip():
            raise AssertionError(f"ends with {error.code!r} and {error!s}, not with 2 and one line") from error
        raise QuarkAudioError(str(error)) from error
    assert repr(from_config_dict(json.loads(json.dumps(to_dict(cfg))))) == repr(cfg)  # NaN is not equal to itself


READERS = (read,)
