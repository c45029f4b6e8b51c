"""Templates of editing instructions; {x}: what is removed or changed, {y}: what is new, {z}, {where}: a position."""

SPEECH = {
    "delete": (
        'delete "{x}"',
        'remove the words "{x}"',
        'cut out "{x}" from the sentence',
        'leave out "{x}"',
        'take "{x}" out of the speech',
        'erase the part that says "{x}"',
        'the speaker should not say "{x}"',
        'drop "{x}"',
    ),
    "insert": (
        'insert "{y}" {where}',
        'add the words "{y}" {where}',
        'let the speaker say "{y}" {where}',
        'put "{y}" {where}',
        'include "{y}" {where}',
        'say "{y}" {where}',
    ),
    "substitute": (
        'replace "{x}" with "{y}"',
        'change "{x}" to "{y}"',
        'substitute "{y}" for "{x}"',
        'say "{y}" instead of "{x}"',
        'where the speaker says "{x}", make it "{y}"',
        'swap "{x}" for "{y}"',
        'use "{y}" in place of "{x}"',
    ),
}

SPEECH_PLACES = {
    "start": ("at the beginning", "at the start of the sentence", "in front of everything else"),
    "end": ("at the end", "after the last word", "to finish the sentence"),
    "after": ('after "{z}"', 'right behind "{z}"', 'following "{z}"'),
}

AUDIO = {
    "add": (
        "add {y} {where}",
        "include {y} {where}",
        "mix in {y} {where}",
        "insert {y} {where}",
        "put {y} {where}",
        "I want to hear {y} {where}",
        "overlay {y} {where}",
    ),
    "remove": (
        "remove {x}",
        "delete {x} from the recording",
        "take out {x}",
        "eliminate {x}",
        "get rid of {x}",
        "I do not want to hear {x}",
        "mute {x}",
    ),
    "replace": (
        "replace {x} with {y}",
        "change {x} into {y}",
        "put {y} where {x} is",
        "use {y} instead of {x}",
        "swap {x} for {y}",
        "turn {x} into {y}",
    ),
    "louder": (
        "make {x} louder",
        "turn up {x}",
        "increase the volume of {x}",
        "raise {x}",
        "bring {x} to the front",
        "amplify {x}",
    ),
    "softer": (
        "make {x} softer",
        "turn down {x}",
        "decrease the volume of {x}",
        "lower {x}",
        "push {x} into the background",
        "make {x} quieter",
    ),
    "faster": (
        "make the audio faster",
        "speed up the recording",
        "play it faster",
        "increase the playback speed",
        "let everything happen more quickly",
        "shorten the recording by playing it faster",
    ),
    "slower": (
        "make the audio slower",
        "slow down the recording",
        "play it slower",
        "decrease the playback speed",
        "let everything happen more slowly",
        "stretch the recording by playing it slower",
    ),
    "reorder": (
        "swap {x} and {y}",
        "exchange the order of {x} and {y}",
        "let {y} come before {x}",
        "reorder the sounds so that {y} comes first and {x} later",
        "move {x} to where {y} is and the other way round",
        "{y} should be heard before {x}",
    ),
}

AUDIO_PLACES = {
    "start": ("at the beginning", "at the start", "before everything else"),
    "end": ("at the end", "after everything else", "as the last sound"),
    "after": ("after {z}", "right behind {z}", "following {z}"),
}
