"""Which files verbs read and write: names that don't meet, nothing written over."""

import argparse
import errno
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from quarkaudio_jax.cli import options, outputs
from quarkaudio_jax.cli.common import process_files, report_errors
from quarkaudio_jax.cli.options import parse_share
from quarkaudio_jax.errors import QuarkAudioError, SystemFileError, UserError, is_exhausted, system_errors
from quarkaudio_jax.io.audio import UnreadableError
from tests.conftest import ROOT


def find(folder):
    return sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file())


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(pairs, output):
    return [str(target.relative_to(output)) for _, target in pairs]


def given(output, overwrite=False, skip_existing=False):
    return argparse.Namespace(output=str(output), overwrite=overwrite, skip_existing=skip_existing)


class TestNames:
    def collected(self, *inputs):
        return outputs.collect_inputs([str(one) for one in inputs], find, "out", ".qka")

    def test_a_target_is_named_like_its_source(self, tmp_path):
        touch(tmp_path, "a.wav", "deep/b.flac")
        assert names(self.collected(tmp_path), "out") == ["a.qka", "deep/b.qka"]

    def test_files_of_one_stem_keep_their_suffixes(self, tmp_path):
        touch(tmp_path, "song.flac", "song.mp3", "other.mp3")
        assert names(self.collected(tmp_path), "out") == ["other.qka", "song.flac.qka", "song.mp3.qka"]

    def test_also_over_several_inputs(self, tmp_path):
        touch(tmp_path, "one/song.flac", "two/song.mp3")
        found = self.collected(tmp_path / "one", tmp_path / "two" / "song.mp3")
        assert names(found, "out") == ["song.flac.qka", "song.mp3.qka"]

    def test_also_where_that_meets_another(self, tmp_path):
        touch(tmp_path, "song.flac", "song.flac.wav", "song.mp3")
        assert names(self.collected(tmp_path), "out") == ["song.flac.qka", "song.flac.wav.qka", "song.mp3.qka"]

    def test_a_file_named_twice_is_one(self, tmp_path):
        touch(tmp_path, "a.wav")
        assert len(self.collected(tmp_path, tmp_path / "a.wav", tmp_path / "a.wav")) == 1

    def test_two_files_of_one_name_are_refused(self, tmp_path):
        touch(tmp_path, "one/song.wav", "two/song.wav")
        with pytest.raises(UserError, match=r"one/song.wav and .*two/song.wav would both be written to song.wav.qka"):
            self.collected(tmp_path / "one", tmp_path / "two")


class TestExisting:
    def test_it_is_refused_skipped_or_written_over(self, tmp_path):
        touch(tmp_path, "in/a.wav", "in/b.wav", "out/a.qka")
        files = outputs.collect_inputs([str(tmp_path / "in")], find, str(tmp_path / "out"), ".qka")
        with pytest.raises(UserError, match=r"out/a.qka exists already: --skip-existing resumes, --overwrite"):
            outputs.remaining(files, given(tmp_path / "out"))
        assert outputs.remaining(files, given(tmp_path / "out", skip_existing=True)) == files[1:]
        assert outputs.remaining(files, given(tmp_path / "out", overwrite=True)) == files

    def test_half_of_several_is_not_done(self, tmp_path):
        touch(tmp_path, "in/a.wav", "out/a.1.wav")
        files = outputs.collect_inputs([str(tmp_path / "in")], find, str(tmp_path / "out"), ".wav")
        made = lambda target: [target.with_suffix(f".{i}.wav") for i in (1, 2)]  # noqa: E731
        assert outputs.remaining(files, given(tmp_path / "out", skip_existing=True), made) == files
        touch(tmp_path, "out/a.2.wav")
        assert outputs.remaining(files, given(tmp_path / "out", skip_existing=True), made) == []

    @pytest.mark.parametrize("kind", ["same", "symlink", "hard link", "folder link", "other source", "reference"])
    def test_a_source_is_never_a_target(self, tmp_path, kind):
        touch(tmp_path, "in/a.wav")
        output, read = tmp_path / "out", []
        if kind == "same":
            output = tmp_path / "in"
        elif kind == "symlink":
            output.mkdir()
            (output / "a.wav").symlink_to(tmp_path / "in" / "a.wav")
        elif kind == "hard link":
            output.mkdir()
            os.link(tmp_path / "in" / "a.wav", output / "a.wav")
        elif kind == "folder link":
            output.symlink_to(tmp_path / "in")
        elif kind == "other source":
            output = tmp_path / "in"
            (output / "a.wav").rename(output / "a.flac")
            touch(output, "b.txt")
            files = [(output / "a.flac", output / "b.txt"), (output / "b.txt", output / "c.txt")]
        else:
            touch(tmp_path, "out/a.wav")
            read = [str(output / "a.wav")]
        if kind != "other source":
            files = outputs.collect_inputs([str(tmp_path / "in")], find, str(output), ".wav")
        for choice in ({"overwrite": True}, {"skip_existing": True}, {}):
            with pytest.raises(UserError, match="is a source, .*: choose another --output"):
                outputs.remaining(files, given(output, **choice), read=read)

    def test_a_file_is_no_folder_and_a_folder_no_file(self, tmp_path):
        touch(tmp_path, "file")
        with pytest.raises(UserError, match="file is a file, but should be a folder"):
            outputs.remaining([], given(tmp_path / "file"))
        with pytest.raises(UserError, match="is a folder, but should be a file"):
            outputs.require_free(tmp_path, True)
        with pytest.raises(UserError, match="file exists already: --overwrite replaces it"):
            outputs.require_free(tmp_path / "file", False)
        with pytest.raises(UserError, match="is one of the inputs"):
            outputs.require_free(tmp_path / "file", True, read=[tmp_path / "file"])
        outputs.require_free(tmp_path / "file", True)
        with pytest.raises(UserError, match="not empty"):
            outputs.require_empty(tmp_path)


class TestErrors:
    def test_the_system_s_errors_name_the_file(self, tmp_path):
        with pytest.raises(SystemFileError, match=r"none: No such file or directory"), system_errors():
            (tmp_path / "none").read_text()
        long = tmp_path / ("x" * 300)
        with pytest.raises(SystemFileError, match=r"x: File name too long"), system_errors(long):
            long.write_text("")
        with pytest.raises(SystemFileError, match="^target: No space left on device$"), system_errors("target"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/folder/.target.0123.part")

    def test_what_has_run_out_is_known_through_other_errors(self):
        with pytest.raises(UnreadableError) as caught:
            try:
                raise OSError(errno.EMFILE, "too many")
            except OSError as error:
                raise UnreadableError("a.wav: can't be opened") from error
        assert is_exhausted(caught.value) and not is_exhausted(UnreadableError("a.wav"))

    def test_a_verb_ends_with_one_line(self, tmp_path):
        with pytest.raises(SystemExit, match="^error: .*none: No such file or directory$"), report_errors():
            (tmp_path / "none").read_text()
        with pytest.raises(ZeroDivisionError), report_errors():
            print(1 / 0)

    def test_one_file_does_not_end_a_folder_but_a_full_disk_does(self, capsys):
        def one(source, target):
            if source == "bad":
                raise QuarkAudioError("too long: cut it")
            if source == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            return f"{target} made"

        with pytest.raises(SystemExit, match="^error: bad: too long: cut it$"):
            process_files([("a", "A"), ("bad", "B"), ("c", "C")], one)
        assert capsys.readouterr().out == "A made\nC made\n"
        with pytest.raises(SystemExit) as stopped:
            process_files([("a", "A"), ("full", "B"), ("c", "C")], one)
        message = "full: B: No space left on device; stopped after 1 of 3 files, resume with --skip-existing"
        assert str(stopped.value) == f"error: {message}" and capsys.readouterr().out == "A made\n"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2", "1/2/3", "½/1"])
def test_shares_count_from_one(text):
    assert parse_share("1/1") == (1, 1) and parse_share("4/4") == (4, 4)
    with pytest.raises(UserError, match="is not i/n with i from 1 to n"):
        parse_share(text)


def test_the_user_s_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert (
        options.path("~/x") == "/home/me/x" and options.path("a/~") == "a/~" and options.path("org/name") == "org/name"
    )


FULL = """
import numpy as np
from quarkaudio_jax.io import atomic
from quarkaudio_jax.io import audio, stream
from quarkaudio_jax.errors import QuarkAudioError, is_exhausted, system_errors
from tests.conftest import ROOT

def streamed(path):
    with stream.Writer(path, 16000) as writer:
        for _ in range(3):
            writer.write(np.ones(16000))

for write in (
    lambda: atomic.write_text("DIR/a.txt", "x" * 200_000),
    lambda: audio.write("DIR/a.wav", np.ones(100_000), 16000),
    lambda: audio.write("DIR/a.flac", np.random.default_rng(0).random(100_000), 16000),
    lambda: streamed("DIR/b.wav"),
):
    try:
        with system_errors("DIR/a"):
            write()
    except QuarkAudioError as error:
        print(is_exhausted(error), error)
"""


def test_a_full_disk_is_known_as_such(tmp_path):
    """On a file system of 64 KiB, mounted where that is allowed."""
    inside = f'mount -t tmpfs -o size=64k none "{tmp_path}" && "{sys.executable}" -c "$0" && ls -A "{tmp_path}"'
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        inside,
        FULL.replace("DIR", str(tmp_path)),
    ]
    if shutil.which("unshare") is None or subprocess.run([*command[:4], "true"], capture_output=True).returncode:
        pytest.skip("mounting needs unshare and user namespaces")
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == f"True {tmp_path}/a: No space left on device\n" * 4 and not done.stderr
