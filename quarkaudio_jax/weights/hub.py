"""Hugging Face models on disk: in a folder, or by hub name in the Hugging Face cache."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.files import FOLDER_NAMES, INDEX, read_json, read_tensors
from quarkaudio_jax.weights.names import WeightFileError

DOWNLOAD = "QUARKAUDIO_DOWNLOAD"
"""Environment variable; 1 allows downloads of models that are not in the cache."""


class MissingWeightsError(QuarkAudioError, FileNotFoundError):
    """The weights of a model are not available."""


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A Hugging Face model on disk; source: the folder or hub name it was requested by."""

    source: str
    folder: pathlib.Path
    weights: pathlib.Path

    def json(self, name: str = "config.json") -> dict[str, Any]:
        """Reads a JSON file of the folder; WeightFileError if it is not an object."""
        return read_json(self.folder / name)

    def settings(self, build: Callable[..., Any], *more: Any) -> Any:
        """Calls build(config.json, *more, path); WeightFileError if a field is missing or of another type."""
        name = self.folder / "config.json"
        try:
            return build(self.json(), *more, str(name))
        except KeyError as error:
            raise WeightFileError(f"{name}: there is no {error} in it") from error
        except (TypeError, AttributeError) as error:
            raise WeightFileError(f"{name}: a field is of the wrong type ({error})") from error

    def tensors(self) -> dict[str, np.ndarray]:
        """Reads the weights; see `files.read_tensors`."""
        return read_tensors(self.weights)


def may_download() -> bool:
    """Whether the environment allows downloads."""
    return os.environ.get(DOWNLOAD, "").lower() in ("1", "true", "yes")


def cached_folder(name: str, files: Sequence[str]) -> pathlib.Path | None:
    """The folder of a hub model in the cache, if it holds any of the files."""
    import huggingface_hub

    found = (huggingface_hub.try_to_load_from_cache(name, file) for file in files)
    return next((pathlib.Path(path).parent for path in found if isinstance(path, str)), None)


def hub_snapshot(name: str, either: Sequence[Sequence[str]], download: bool = False) -> tuple[pathlib.Path | None, str]:
    """(folder of a hub model or None, reason of a failure), from the cache only unless `download`.

    either: alternatives for each file; the first one that exists is taken.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        return None, "reading the Hugging Face cache needs pip install huggingface_hub"
    known = ("HfHubHTTPError", "HTTPError", "EntryNotFoundError", "RevisionResolutionError", "XetDownloadError")
    failures = tuple(kind for kind in (getattr(errors, n, None) for n in known) if kind is not None)
    try:
        if not download:
            return cached_folder(name, [file for entry in either for file in entry]), ""
        available = huggingface_hub.HfApi().list_repo_files(name)
        wanted = [next((file for file in entry if file in available), "") for entry in either]
        wanted += [f"{file.removesuffix(INDEX).replace('.', '-*.')}" for file in wanted if file.endswith(INDEX)]
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=[w for w in wanted if w])), ""
    except errors.HFValidationError:
        return None, "no name of a hub model (ORGANIZATION/NAME)"
    except (*failures, OSError, ValueError) as error:
        return None, f"the download failed: {_cause(error)}"


def _cause(error: BaseException) -> str:
    """The first line of the original error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def find_model(
    source: str, required: Sequence[str], purpose: str, hub: str, option: str, download: bool = False
) -> ModelFolder:
    """Finds a Hugging Face model in a folder, or by hub name in the cache; from the network only if `download`.

    required: files needed besides the weights; `a|b` are alternatives. MissingWeightsError says what failed, and what to
    download and to where; purpose, hub, option: what needs the weights, the default model, and the option for a folder.
    """
    either = [entry.split("|") for entry in (*required, "|".join(FOLDER_NAMES))]
    local, reason = pathlib.Path(source).expanduser(), ""
    folder = local if local.is_dir() else None
    if folder is None:
        folder, reason = hub_snapshot(source, either, download or may_download())
    found = [next((n for n in entry if folder and (folder / n).is_file()), "") for entry in either]
    if folder is not None and all(found):
        return ModelFolder(source, folder, folder / found[-1])
    needed = [f"{entry[0]} (or {entry[1]})" if entry[1:] else entry[0] for entry in either]
    listed = f"{', '.join(needed[:-1])} and {needed[-1]}"
    raise MissingWeightsError(
        f"{purpose} need the weights of {hub}, and {source} is neither a folder with {listed} nor in the Hugging Face "
        f"cache{f' ({reason})' if reason else ''}. Download them from https://huggingface.co/{hub} into a folder, and name it "
        f"by {option}; or allow the download: {DOWNLOAD}=1"
    )
