"""`quarkaudio <verb> ...`, and what the verbs share: logging and one clear line for an error."""

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator

VERBS = {
    "train": "train a codec",
    "encode": "audio to token files",
    "decode": "token files to audio",
    "evaluate": "measure reconstructions over a folder",
}


def set_up_logging() -> None:
    """Lines with a time on stderr; other packages only from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("quarkaudio_jax").setLevel(logging.INFO)
    logging.getLogger("__main__").setLevel(logging.INFO)
    with contextlib.suppress(ImportError):
        from absl import logging as absl_logging

        absl_logging.set_verbosity(absl_logging.WARNING)
        absl_logging.use_absl_handler = lambda: None


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Ends the process with one line, no traceback, for errors that the user can act on."""
    from quarkaudio_jax.data.audio import AudioError
    from quarkaudio_jax.data.pipeline import DataError
    from quarkaudio_jax.data.sources import SourceError
    from quarkaudio_jax.schema import ConfigError

    expected = [AudioError, DataError, SourceError, ConfigError]
    try:
        yield
    except Exception as error:
        from quarkaudio_jax.codec.container import ContainerError
        from quarkaudio_jax.training.checkpoint import CheckpointError
        from quarkaudio_jax.training.loop import NonFiniteError

        expected += [ContainerError, CheckpointError, NonFiniteError, UserError]
        if isinstance(error, tuple(expected)):
            raise SystemExit(f"error: {error}") from error
        raise


class UserError(ValueError):
    """Something the user asked for that can't be done; the message says what to do instead."""


def main() -> None:
    """Runs a verb."""
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        print("usage: quarkaudio <verb> [options]\n")
        for verb, about in VERBS.items():
            print(f"  {verb:10} {about}")
        print("\n`quarkaudio <verb> --help` lists its options.")
        raise SystemExit(0 if sys.argv[1:] in ([], ["--help"], ["-h"]) else 2)
    verb = sys.argv[1]
    importlib.import_module(f"quarkaudio_jax.{verb}").main([f"quarkaudio {verb}", *sys.argv[2:]])
