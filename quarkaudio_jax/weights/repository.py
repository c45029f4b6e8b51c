"""Models by name: those in the package, and of a hub repository which files are needed, and where they are on disk.

quarkaudio/NAME       a model in the package (`builtin.BUILTIN`)
ORG/NAME              the model in the repository's root, or the only weight file of the repository
ORG/NAME@REVISION     of a branch, tag or commit
ORG/NAME:PATH         a weight file, or a folder with one, of a repository that holds several
"""

import dataclasses
import importlib.util
import logging
import os
import pathlib
import re
from collections.abc import Iterable

from quarkaudio_jax.errors import QuarkAudioError
from quarkaudio_jax.weights.builtin import find_builtin
from quarkaudio_jax.weights.files import SUFFIXES, read_json

log = logging.getLogger(__name__)

CONFIG, WEIGHTS, CARD, CODEC = "config.json", "model.safetensors", "README.md", "codec"
"""Names in a folder of `pretrained.write_codec`; a task model's codec is in the folder CODEC of its own, or
a built-in one, which its config.json names as CODEC."""

HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<path>[^:]+))?")
BESIDE = (".json", ".yaml", ".yml")
"""Suffixes of the settings that are fetched with a weight file, from the same folder."""


class HubError(QuarkAudioError, RuntimeError):
    """A model of the hub that can't be found, downloaded or uploaded."""


@dataclasses.dataclass(frozen=True)
class HubName:
    """A repository, a revision of it ('' for its main branch), and a file or folder in it ('' for the root)."""

    repo: str
    revision: str = ""
    path: str = ""


def parse_hub_name(source: str | os.PathLike) -> HubName | None:
    """The parts of ORG/NAME[@REVISION][:PATH]; None if it is another path, or ORG a local folder (`runs/mine`)."""
    found = HUB_NAME.fullmatch(os.fspath(source))
    if not found or pathlib.Path(found["repo"]).parent.is_dir():
        return None
    return HubName(found["repo"], found["revision"] or "", (found["path"] or "").strip("/"))


def locate(source: str | os.PathLike) -> pathlib.Path:
    """Returns a local path unchanged; for a built-in model its folder; for a hub name the weight file in the hub's cache.

    Of a hub model only the files that are needed are downloaded, with huggingface_hub's progress bars. HF_HUB_OFFLINE=1
    uses the cache alone. The model's license is logged. HubError says what the repository lacks or why it can't be read.
    """
    if (folder := find_builtin(source)) is not None:
        return folder
    name = parse_hub_name(source)
    if name is None:
        return pathlib.Path(source).expanduser()
    if importlib.util.find_spec("huggingface_hub") is None:
        raise HubError(
            f"{source}: no such file or folder; if it is the name of a hub model: pip install 'quarkaudio_jax[hub]'"
        )
    files, folder = _list_files(name)
    wanted = select_files(name, files)
    if folder is None:
        folder = _download(name, [*wanted, *(file for file in (CARD,) if file in files)])
    log.info("%s: %s, license: %s", name.repo, wanted[0], card_license(folder / CARD) or "not stated")
    return folder / wanted[0]


def model_type(weights: str | os.PathLike) -> str:
    """The `model_type` of the config.json beside a weight file; '' without one."""
    path = pathlib.Path(weights).with_name(CONFIG)
    return str(read_json(path).get("model_type", "")) if path.is_file() else ""


def own_codec(path: pathlib.Path) -> str | pathlib.Path:
    """The codec that comes with a task model's weight file: a built-in one by name, or its folder; '' for a run's folder."""
    if not path.is_file():
        return ""
    config = path.with_name(CONFIG)
    return (read_json(config).get(CODEC) if config.is_file() else "") or path.parent / CODEC


def folder_weights(path: pathlib.Path) -> pathlib.Path:
    """The weight file of a folder of `save_pretrained`; any other path unchanged."""
    return path / WEIGHTS if (path / WEIGHTS).is_file() else path


def select_files(name: HubName, files: Iterable[str]) -> list[str]:
    """The files of a repository that a model needs, weights first; HubError lists the files to choose from."""
    files = sorted(files)
    inside = [file for file in files if file == name.path or not name.path or file.startswith(f"{name.path}/")]
    weights = [file for file in inside if file.endswith(SUFFIXES)]
    here = f"{name.path}/{WEIGHTS}" if name.path else WEIGHTS
    if here in weights:
        weights = [here]
    if len(weights) != 1:
        listed = ", ".join(f"{name.repo}:{file}" for file in weights) or ", ".join(files[:20]) or "no files"
        reason = "has several models; choose one" if weights else f"has no weight file ({', '.join(SUFFIXES)}), only"
        raise HubError(f"{name.repo}{f':{name.path}' if name.path else ''} {reason}: {listed}")
    parent = str(pathlib.PurePosixPath(weights[0]).parent)
    beside = [file for file in files if file.endswith(BESIDE) and str(pathlib.PurePosixPath(file).parent) == parent]
    nested = f"{'' if parent == '.' else parent + '/'}{CODEC}/"
    codec = [file for file in files if file in (nested + CONFIG, nested + WEIGHTS)]
    return [*weights, *beside, *codec]


def _list_files(name: HubName) -> tuple[list[str], pathlib.Path | None]:
    """(files of the repository, None), or offline (files of its snapshot in the cache, the snapshot's folder)."""
    import huggingface_hub
    from huggingface_hub import constants

    revision = name.revision or None
    try:
        if not constants.HF_HUB_OFFLINE:
            return list(huggingface_hub.HfApi().list_repo_files(name.repo, revision=revision)), None
    except Exception as error:  # whatever the library, its HTTP client or the network raises
        reason = describe_error(error)
        log.warning("%s: not read from the hub (%s); searching its cache", name.repo, reason)
    else:
        reason = "HF_HUB_OFFLINE is set"
    try:
        # Without allow_patterns=[] a snapshot that lacks any file of the repository is refused.
        found = huggingface_hub.snapshot_download(
            name.repo, revision=revision, local_files_only=True, allow_patterns=[]
        )
    except Exception as error:  # likewise
        raise HubError(
            f"{name.repo}: no such file or folder, not in the Hugging Face cache, and not read from the hub ({reason})"
        ) from error
    folder = pathlib.Path(found)
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()], folder


def _download(name: HubName, files: list[str]) -> pathlib.Path:
    """The snapshot's folder, with these files in it."""
    import huggingface_hub

    exact = [re.sub(r"([*?[])", r"[\1]", file) for file in files]
    try:
        folder = huggingface_hub.snapshot_download(name.repo, revision=name.revision or None, allow_patterns=exact)
    except Exception as error:  # whatever the library, its HTTP client or the network raises
        raise HubError(f"{name.repo}: the download failed ({describe_error(error)})") from error
    return pathlib.Path(folder)


def describe_error(error: BaseException) -> str:
    """The type and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def card_license(card: pathlib.Path) -> str:
    """The `license` in the metadata of a model card; '' if there is none."""
    try:
        text = card.read_text("utf-8", "replace")
    except OSError:
        return ""
    metadata = text.split("---", 2)[1] if text.startswith("---") else ""
    found = re.search(r"^license:[ \t]*(\S+)", metadata, re.MULTILINE)
    return found[1] if found else ""
