"""Examples of a task to listen to."""

import json

import pytest

from quarkaudio_jax.cli import simulate
from quarkaudio_jax.io import audio


def call(output, *more):
    flags = ["--config=configs/prepare.py:tiny", "--task=extraction", f"--output={output}", "--count=2", *more]
    simulate.main(["quarkaudio simulate", *flags])


def test_sounds_pictures_draws_and_a_page_are_written(tmp_path, capsys):
    call(tmp_path / "listen")
    for name in ("000", "001"):
        kinds = [p.name.split(".")[1] for p in sorted((tmp_path / "listen").glob(f"{name}.*.wav"))]
        assert {"reference", "source", "target"} <= set(kinds)
        assert audio.info(tmp_path / "listen" / f"{name}.source.wav")[1] == 16000
        assert "sir" in json.dumps(json.loads((tmp_path / "listen" / f"{name}.json").read_text()))
        assert (tmp_path / "listen" / f"{name}.png").stat().st_size > 1000
    assert "001.target.wav" in (tmp_path / "listen" / "index.html").read_text()
    assert "open" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is not empty; name a new folder"):
        call(tmp_path / "listen")
