#!/usr/bin/env bash
# Installs, trains a tiny codec48k on the embedded corpus for a minute or two, reconstructs a clip.
# Usage: bash launch/quickstart.sh [WORKDIR]     STEPS=... trains longer (the same WORKDIR goes on).
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" train,speech
workdir=${1:-runs/quickstart}
steps=${STEPS:-200}

echo "training $steps steps in $workdir (compiling the step takes about a minute the first time)"
.venv/bin/python -m quarkaudio_jax.train --config=configs/codec48k.py:tiny --workdir="$workdir" \
  --config.loop.steps="$steps" --config.loop.eval_every="$steps"

samples=$(find "$workdir"/samples -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
clip=$(find "$samples" -name '*.target.wav' | sort | head -n 1)
.venv/bin/python -m quarkaudio_jax.encode "$clip" --checkpoint="$workdir" --output="$workdir/tokens" --overwrite
.venv/bin/python -m quarkaudio_jax.decode "$workdir/tokens/$(basename "$clip" .wav).qka" --checkpoint="$workdir" \
  --output="$workdir/decoded" --overwrite

cat <<END

Done.
  listen   $clip (the original)
           $workdir/decoded/$(basename "$clip") (through token files and back)
  look     ${clip%.target.wav}.png (both spectrograms)
  follow   $workdir/metrics.jsonl, or tensorboard --logdir $workdir/tensorboard
  go on    STEPS=2000 bash launch/quickstart.sh $workdir
END
