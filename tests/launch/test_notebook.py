"""The Colab notebook, executed here as it stands but for its settings."""

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_it_runs_to_its_end(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient executes the notebook")
    import nbformat

    notebook = nbformat.read(ROOT / "launch" / "colab_tpu.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert [line.split(" = ")[0] for line in first.source.splitlines()] == ["REPO", "WORKDIR", "STEPS", "FLAGS"]
    small = "--config.data.batch_size=2 --config.data.crop_seconds=0.4 --config.losses.adversarial=0"
    small += " --config.losses.feature_matching=0 --config.loop.heldout_clips=2 --config.loop.log_every=1"
    first.source = f'REPO, WORKDIR, STEPS, FLAGS = "", "{tmp_path}", 2, "{small}"'
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()

    def printed(cell):
        return "".join(output.get("text", "") for output in cell.get("outputs", []))

    train, resume, code, shown, _ = [cell for cell in notebook.cells if cell.cell_type == "code"][2:]
    assert "step 2/2" in printed(train)
    assert "resuming from step 2" in printed(resume) and "step 3/3" in printed(resume)
    assert "kbit/s of codes" in printed(code)
    kinds = [kind for output in shown.outputs if "data" in output for kind in output.data]
    assert kinds.count("text/html") == 2 and kinds.count("image/png") == 1  # two players and a picture
    assert (tmp_path / "codec.safetensors").stat().st_size > 1e6
