"""The documentation: every block of code is run, or its command line is read; the site builds."""

import importlib.util
import re
import subprocess
import sys

import pytest

from quarkaudio_jax.io import audio
from tests.conftest import ROOT
from tests.docs.blocks import PAGES, blocks, check, check_python, run
from tests.evaluation import sets

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [page for page in PAGES if any(not block.not_run for block in blocks(page))]
GIVEN = {"runs/codec": "trained", "runs/lm": "trained_lm", "data/tiny": "prepared"}
"""Folders that pages name -> the fixture that makes them."""


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.not_run], ids=str)
def test_what_is_not_run_is_a_command_that_exists(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    if block.language == "python":
        check_python(block.text)
    else:
        for words in block.commands:
            check(words, monkeypatch)


@pytest.fixture
def folder(page, request, tmp_path):
    """A folder with a few recordings, a copy of a data set, and the models that the page names."""
    text = "".join(block.text for block in blocks(page) if not block.not_run)
    for name, fixture in GIVEN.items():
        if name in text:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).symlink_to(request.getfixturevalue(fixture))
    for number in range(3):
        audio.write(tmp_path / "speech" / f"{number}.wav", sets.talk(1.2, 140 + 20 * number), 16000)
    audio.write(tmp_path / "speech.wav", sets.talk(1.2), 16000)
    audio.write(tmp_path / "stereo.wav", sets.talk(1.2)[:, None].repeat(2, 1), 16000)
    sets.librispeech(tmp_path / "data")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_a_page_runs_from_top_to_bottom(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {"__name__": page.stem}
    for block in blocks(page):
        if not block.not_run:
            run(block, names)


def test_every_mark_stands_before_a_block():
    for page in PAGES:
        marks = re.findall(r"^<!-- (?:not run|run with): ", page.read_text(), re.MULTILINE)
        assert len(marks) in (0, sum(bool(block.extra or block.not_run) for block in blocks(page))), page


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is missing: pip install '.[docs]'")
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in tmp_path.rglob("*.html"):
        assert not re.search(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(?:https?:)?//", path.read_text()), path


def test_messages_that_the_faq_quotes_are_those_of_the_code():
    source = "".join(path.read_text() for path in (ROOT / "quarkaudio_jax").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    quoted = re.findall(r"^### .*?\"(.*?)\"", (ROOT / "docs" / "faq.md").read_text(), re.MULTILINE)
    assert len(quoted) > 5
    for message in quoted:
        for part in filter(None, map(str.strip, message.split("…"))):
            assert part in source, part
