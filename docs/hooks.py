"""Pages of the site that are generated from the source: configuration, commands, API, and files beside docs/.

mkdocs.yml names this file; nothing that it makes is committed.
"""

import contextlib
import dataclasses
import importlib
import inspect
import io
import pathlib
import re
import sys
import textwrap

from mkdocs.structure.files import File

import quarkaudio_jax
from quarkaudio_jax import config
from quarkaudio_jax.cli import main as cli
from quarkaudio_jax.config import values

ROOT = pathlib.Path(__file__).parents[1]
BESIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "third_party/README.md": "provenance.md",
}
"""Files outside docs/ that are pages too -> names of the pages."""

FURTHER = (
    "quarkaudio_jax.errors.QuarkAudioError",
    "quarkaudio_jax.errors.UserError",
    "quarkaudio_jax.lm.sampling.Sampling",
    "quarkaudio_jax.codec.chunked.ChunkSpec",
    "quarkaudio_jax.io.token_file",
    "quarkaudio_jax.io.token_header.Header",
)
"""What the API reference holds beside the public names of the package."""

ROOTS = {
    "Codec training": ("codec", config.CodecTrainConfig),
    "Language model training": ("lm", config.LMTrainConfig),
    "UniSE training": ("unise", config.UniseTrainConfig),
    "Preparation": ("prepare", config.PrepareConfig),
}
"""Sections of the configuration reference -> (name, class)."""


def on_files(files, config):
    """Adds the generated pages."""
    pages = {name: (ROOT / path).read_text() for path, name in BESIDE.items()}
    pages |= {"configuration.md": configuration(), "commands.md": commands(), "api.md": api()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lets links between files of the repository lead to their pages on the site."""
    path = page.file.src_uri
    depth = "../" * path.count("/")
    for source, name in BESIDE.items():
        markdown = re.sub(rf"\]\((?:\.\./)*{re.escape(source)}", f"]({depth}{name}", markdown)
    if path in BESIDE.values():
        markdown = re.sub(r"\]\((?:\.\./)*docs/", "](", markdown)
    return markdown


def kind_name(kind) -> str:
    """A type as it is written, with its bounds: `int, at least 1`."""
    base, rules = values.base_type(kind), getattr(kind, "__metadata__", ())
    if base.__name__ == "tuple" and hasattr(base, "__args__"):
        name = f"tuple of {kind_name(base.__args__[0])}"
    else:
        name = base.__name__
    return ", ".join([name, *map(str, rules)])


def prose(doc: str) -> str:
    """A docstring as Markdown: indentation and the first line's break are gone, symbols keep their meaning."""
    return re.sub(r"(?<!`)<([^>]*)>", r"&lt;\1&gt;", inspect.cleandoc(doc or ""))


def docs(cls) -> list[str]:
    """The docstrings that were written for a class of fields, those of its base classes first."""
    found = [each for each in reversed(cls.__mro__) if dataclasses.is_dataclass(each) and "__doc__" in vars(each)]
    return [each.__doc__ for each in found if each.__doc__ and not each.__doc__.startswith(f"{each.__name__}(")]


def tables(cls, value, prefix: str, name: str, seen: dict) -> list[str]:
    """A section of a group of fields and of every group within it; equal groups are listed once."""
    fields = dataclasses.fields(cls)
    nested = [f for f in fields if dataclasses.is_dataclass(f.type)]
    plain = [f for f in fields if f not in nested]
    title = prefix.rstrip(".") or f"{name}: outside of groups"
    anchor = re.sub(r"\W+", "-", f"{name} {title}")
    out = [f"### `{title}` {{ #{anchor} }}", *map(prose, docs(cls))]
    if (cls, value) in seen:
        out.append("The same fields and defaults as [`{}`](#{}).".format(*seen[cls, value]))
    elif plain:
        seen[cls, value] = (title, anchor)
        rows = [f"| `--config.{prefix}{f.name}` | {kind_name(f.type)} | `{getattr(value, f.name)!r}` |" for f in plain]
        out.append("\n".join(["| option | type | default |", "| --- | --- | --- |", *rows]))
    for field in nested:
        out += tables(field.type, getattr(value, field.name), f"{prefix}{field.name}.", name, seen)
    return out


def configuration() -> str:
    """Every field with its type, bounds and default, and every configuration that comes with the package."""
    out = [
        "# Configuration",
        "Generated from the dataclasses of `quarkaudio_jax/config/`, the only place of defaults. A configuration of the "
        "package, such as `codec48k:tiny`, changes some of them ([below](#configurations-of-the-package)); "
        "`--config.FIELD=VALUE` sets any field; unknown fields are refused with the nearest name. The resolved "
        "configuration is `config.json` in the work directory.",
    ]
    seen: dict = {}
    for title, (name, cls) in ROOTS.items():
        out += [f"## {title}", *tables(cls, cls(), "", name, seen)]
    out.append("## Configurations of the package")
    for path in sorted((ROOT / "quarkaudio_jax" / "configs").glob("[a-z]*.py")):
        doc = importlib.import_module(f"quarkaudio_jax.configs.{path.stem}").__doc__
        out += [f"### `{path.stem}`", f"```text\n{inspect.cleandoc(doc).strip()}\n```"]
    return "\n\n".join(out) + "\n"


def help_of(*arguments: str) -> str:
    """What `quarkaudio ARGUMENTS --help` prints."""
    printed, given = io.StringIO(), sys.argv
    sys.argv = ["quarkaudio", *arguments, "--help"]
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main()
    finally:
        sys.argv = given
    return printed.getvalue().strip()


def commands() -> str:
    """The help of every verb."""
    out = [
        "# Commands",
        "What `quarkaudio VERB --help` prints. `python -m quarkaudio_jax VERB` is the same. The exit status is 2 for a wrong "
        "command line, 1 for any other failure; `train` exits with 75 after SIGTERM, when it has saved and can be started "
        "again, and with 130 after Ctrl-C.",
    ]
    for title, verbs in cli.GROUPS.items():
        out.append(f"## {title[0].upper()}{title[1:]}")
        for verb in verbs:
            names = [(verb,)]
            if verb == "convert":
                names += [(verb, part) for part in ("import", "export", "push", "verify")]
            for name in names:
                out += [f"### {' '.join(name)}", f"```text\n{help_of(*name)}\n```"]
    return "\n\n".join(out) + "\n"


def api() -> str:
    """Directives of mkdocstrings for the public names."""
    names = [f"quarkaudio_jax.{quarkaudio_jax._LIBRARY[name]}.{name}" for name in sorted(quarkaudio_jax.__all__)]
    text = """\
    # Python API

    ```python
    from quarkaudio_jax import load_codec, load_task_model
    ```

    The names of `quarkaudio_jax.__all__`; [stability](stability.md) says what holds for them. Names of arrays end in their
    axes, `codes_BxTxK`: B batch, S samples, T frames, K codebooks (all: `quarkaudio_jax/types.py`).

    ## Public names
    """
    first = [f"::: {name}" for name in sorted(names, key=lambda n: (not n.rpartition(".")[2].startswith("load"), n))]
    return "\n\n".join([textwrap.dedent(text).strip(), *first, "## Further", *(f"::: {name}" for name in FURTHER)])
