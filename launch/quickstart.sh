#!/usr/bin/env bash
# Installs, then encodes and decodes a clip with the built-in codec and cleans a noisy one with the built-in restorer; with
# STEPS=... it trains a tiny codec as well.
# Usage: bash launch/quickstart.sh [WORKDIR]
#   CLIP=my.wav   a recording of your own (default: a sentence of the embedded corpus)
#   STEPS=200     trains codec48k:tiny for so many steps, a minute or two (the same WORKDIR goes on), and tries it
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" train,speech
workdir=${1:-runs/quickstart}
python=.venv/bin/python
clip=${CLIP:-$workdir/speech.wav}

# Encodes CLIP to a token file and decodes that, into $workdir/NAME, with the codec of the further arguments.
reconstruct() { # CLIP NAME [--checkpoint=...]
  local name
  name=$(basename "${1%.*}")
  "$python" -m quarkaudio_jax.encode "$1" --output="$workdir/$2" --overwrite "${@:3}"
  "$python" -m quarkaudio_jax.decode "$workdir/$2/$name.qka" --output="$workdir/$2" --overwrite "${@:3}"
}

mkdir -p "$workdir"
if [ -z "${CLIP:-}" ]; then
  "$python" - "$clip" <<'END'
import sys
import soundfile
from quarkaudio_jax.data.sources import open_source

soundfile.write(sys.argv[1], open_source("embedded:speech/test").clip(0, 16000).samples_S, 16000)
END
fi
# The clip with noise as loud as it is.
"$python" - "$clip" "$workdir/noisy.wav" <<'END'
import sys
import numpy as np
import soundfile

clip, rate = soundfile.read(sys.argv[1], always_2d=True)
noise = np.random.default_rng(0).standard_normal(clip.shape) * clip.std()
soundfile.write(sys.argv[2], (clip + noise) / np.abs(clip + noise).max(), rate)
END
reconstruct "$clip" builtin
decoded=$workdir/builtin/$(basename "${clip%.*}").wav
"$python" -m quarkaudio_jax restore "$workdir/noisy.wav" --output="$workdir/restored" --overwrite
"$python" -m quarkaudio_jax.compare "$clip" "$decoded" "$workdir/noisy.wav" "$workdir/restored/noisy.wav" \
  --output="$workdir/page" --overwrite
cat <<END

  listen   $clip (the original)
           $decoded (through a token file of 4 kbit/s and back)
           $workdir/noisy.wav, and $workdir/restored/noisy.wav (restored)
  look     $workdir/page/index.html (all of them, with their spectrograms)
END

if [ -z "${STEPS:-}" ]; then
  echo "  train    STEPS=200 bash launch/quickstart.sh $workdir   (a tiny codec of your own, a minute or two)"
  exit
fi

echo
echo "training $STEPS steps in $workdir (compiling the step takes about a minute the first time)"
"$python" -m quarkaudio_jax.train --config=configs/codec48k.py:tiny --workdir="$workdir" \
  --config.loop.steps="$STEPS" --config.loop.eval_every="$STEPS"
samples=$(find "$workdir"/samples -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
clip=$(find "$samples" -name '*.target.wav' | sort | head -n 1)
reconstruct "$clip" trained --checkpoint="$workdir"

cat <<END

  listen   $clip (the original)
           $workdir/trained/$(basename "$clip") (through token files and back)
  look     ${clip%.target.wav}.png (both spectrograms)
  follow   $workdir/metrics.jsonl, or tensorboard --logdir $workdir/tensorboard
  go on    STEPS=2000 bash launch/quickstart.sh $workdir
END
