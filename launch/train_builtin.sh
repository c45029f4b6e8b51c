#!/usr/bin/env bash
# Makes the built-in models again: synthesizes the corpora, trains, measures, and exports into the package.
# Usage: bash launch/train_builtin.sh [WORKDIR] [codec|restore]   (default: both, the codec first)
#   CLIPS=...   utterances for the codec (default 4000, about 5 h)     STEPS=...  its training steps (default 5000)
#   AUDIO=...   a folder of real speech to measure it on (default: none)
# The restorer learns from 1024 utterances; its settings are configs/prepare.py:restore and configs/lm.py:restore.
# Each part goes on where it stopped; a trained run with a larger STEPS trains on.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" train,voices,speech,evaluate,pesq
workdir=${1:-runs/builtin}
which=${2:-both}
clips=${CLIPS:-4000}
python=.venv/bin/python

# Synthesizes COUNT clips of SOURCE, of the domain DOMAIN, into $workdir/corpus/NAME, whose speech is in codec_speech etc.
corpus() { # NAME DOMAIN SOURCE COUNT
  "$python" -m quarkaudio_jax.prepare --config=prepare:codec --output="$workdir/corpus/$1" --config.sample_rate=16000 \
    --config.features.recipe=mel --config.feature_width=3 --config.workers="$(nproc)" --config.shard=64 \
    --config.examples.codec_speech=0 --config.examples.codec_music=0 --config.examples.codec_events=0 \
    --config.sources."$2"="$3" --config.examples.codec_"$2"="$4"
}

data=prepared:$workdir/corpus

if [ "$which" != restore ]; then
  echo "synthesizing $clips utterances in $workdir/corpus"
  corpus voices speech voices:varied/train "$clips"
  corpus formants speech embedded:speech/train "$((clips / 3 + 1))"
  corpus music music embedded:music/train "$((clips / 60 + 1))"
  corpus events events embedded:events/train "$((clips / 30 + 1))"
  "$python" -m quarkaudio_jax.train --config=codec16k:small --workdir="$workdir" --config.loop.steps="${STEPS:-5000}" \
    --config.data.speech.paths="$data/voices/codec_speech,$data/formants/codec_speech" --config.data.speech.weight=0.92 \
    --config.data.music.paths="$data/music/codec_music" --config.data.music.weight=0.03 \
    --config.data.events.paths="$data/events/codec_events" --config.data.events.weight=0.05
  "$python" -m benchmarks.builtin "$workdir" --audio="${AUDIO:-}" --curve=docs/speech16k.png
fi
if [ "$which" != codec ]; then
  echo "synthesizing 1024 utterances in $workdir/corpus/clean"
  corpus clean speech voices:clean/train 1024
  "$python" -m quarkaudio_jax.prepare --config=prepare:restore --output="$workdir/mixtures" \
    --config.sources.speech="$data/clean/codec_speech" --config.workers="$(nproc)"
  "$python" -m quarkaudio_jax.train --config=lm:restore --workdir="$workdir/restore" --config.data.folder="$workdir/mixtures"
  "$python" -m benchmarks.builtin_task "$workdir/restore" --listen="$workdir/listen" --curve=docs/restore16k.png
fi
