"""`quarkaudio VERB ...`: the dispatcher of the command line."""

import importlib
import sys

import quarkaudio_jax

VERBS = {
    "train": "train a codec or a language model",
    "encode": "audio to token files",
    "decode": "token files to audio",
    "evaluate": "measure codecs and language models, over a folder or a benchmark",
    "rate-distortion": "rate against distortion of codecs, as a picture",
    "compare": "recordings side by side on a page to listen to",
    "convert": "weights from and to PyTorch",
    "manifest": "lists of audio, with what is known of it",
    "simulate": "examples of a task to listen to",
    "prepare": "training data with features and codes worked out",
    "compile": "what a configuration needs of a TPU slice, without one",
}


TASK_VERBS = {
    "restore": "clean speech out of a bad recording",
    "extract": "one of two talkers, by a sample of a voice",
    "separate": "two talkers, each for itself",
    "convert-voice": "the same words in another voice",
    "query": "the sound that a text describes",
    "edit": "words of speech or sounds of a scene changed as instructed",
}
"""What a language model is asked for; all of them are `generate`."""


def main() -> None:
    """Runs a verb."""
    verbs = VERBS | TASK_VERBS
    if sys.argv[1:] == ["--version"]:
        print(f"quarkaudio_jax {quarkaudio_jax.__version__}")
        return
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        print("usage: quarkaudio <verb> [options]")
        for title, group in (("codecs, data and training", VERBS), ("tasks of a language model", TASK_VERBS)):
            print(f"\n{title}:")
            for verb, about in group.items():
                print(f"  {verb:16} {about}")
        print("\n`quarkaudio <verb> --help` lists its options; `quarkaudio --version` says which version this is.")
        raise SystemExit(0 if sys.argv[1:] in ([], ["--help"], ["-h"]) else 2)
    verb, rest = sys.argv[1], sys.argv[2:]
    if verb in TASK_VERBS:
        importlib.import_module("quarkaudio_jax.cli.tasks").main(["quarkaudio", verb, *rest])
    else:
        importlib.import_module(f"quarkaudio_jax.cli.{verb.replace('-', '_')}").main([f"quarkaudio {verb}", *rest])
