"""Sound events with captions and paraphrases."""

import numpy as np

from quarkaudio_jax.data.synthetic import sounds
from quarkaudio_jax.data.synthetic.synthesis import Sound, band_noise, finished

KINDS = {
    "a bell is ringing": (sounds.bell, "the ringing of a bell", "a bell tolls", "bell sounds"),
    "someone knocks on a door": (sounds.knock, "knocking on a door", "a person is knocking", "door knocks"),
    "someone is typing on a keyboard": (sounds.typing, "keyboard typing", "keys being pressed", "a person types"),
    "rain is falling": (sounds.rain, "rainfall", "the sound of rain", "it is raining"),
    "wind is blowing": (sounds.wind, "gusts of wind", "the wind howls", "blowing wind"),
    "a siren is wailing": (sounds.siren, "a wailing siren", "an emergency vehicle's siren", "siren sounds"),
    "an engine is running": (sounds.engine, "a running engine", "the hum of a motor", "a motor idles"),
    "an alarm clock beeps": (sounds.alarm, "the beeping of an alarm", "an alarm goes off", "repeated beeps"),
    "birds are singing": (sounds.birds, "birdsong", "chirping birds", "birds chirp"),
    "a dog is barking": (sounds.dog, "dog barking", "the barking of a dog", "a dog barks"),
    "a clock is ticking": (sounds.clock, "the ticking of a clock", "a clock ticks", "tick tock sounds"),
    "someone is walking": (sounds.footsteps, "footsteps", "a person walks", "the sound of steps"),
    "people are applauding": (sounds.applause, "applause", "a crowd claps", "hand clapping"),
    "water is dripping": (sounds.dripping, "dripping water", "drops of water fall", "a tap drips"),
    "thunder is rolling": (sounds.thunder, "rolling thunder", "a thunderstorm rumbles", "thunderclaps"),
    "a cat is meowing": (sounds.cat, "the meowing of a cat", "a cat meows", "cat sounds"),
    "crickets are chirping": (sounds.crickets, "the chirping of crickets", "insects at night", "cricket sounds"),
    "a frog is croaking": (sounds.frog, "the croaking of a frog", "a frog croaks", "frog sounds"),
    "a helicopter is flying": (sounds.helicopter, "a helicopter overhead", "rotor blades beat", "helicopter noise"),
    "glass is breaking": (sounds.glass, "breaking glass", "glass shatters", "a glass is smashed"),
    "a telephone is ringing": (sounds.phone, "a ringing telephone", "the phone rings", "phone ringtone"),
    "someone blows a whistle": (sounds.whistle, "a referee's whistle", "a whistle is blown", "whistle sounds"),
    "waves are breaking on a beach": (sounds.waves, "ocean waves", "the surf of the sea", "waves wash ashore"),
    "a fire is crackling": (sounds.fire, "a crackling fire", "wood burns and crackles", "campfire sounds"),
    "a car horn is honking": (sounds.horn, "a honking car", "someone honks the horn", "car horn sounds"),
    "someone is hammering": (sounds.hammer, "hammer blows", "a person hammers on metal", "the sound of a hammer"),
    "someone is sawing wood": (sounds.saw, "sawing", "a hand saw cuts wood", "the sound of a saw"),
    "a vacuum cleaner is running": (sounds.vacuum, "vacuuming", "a vacuum cleaner hums", "someone vacuums the floor"),
    "a train is passing": (sounds.train, "a passing train", "a train clatters over rails", "railway noise"),
    "a drum is being played": (sounds.drums, "a drum roll", "someone plays a snare drum", "drumming"),
    "someone is coughing": (sounds.cough, "coughing", "a person coughs", "the sound of coughs"),
}
"""Caption -> (synthesis function, paraphrases ...)."""


def make(rng: np.random.Generator, rate: int, number: int) -> tuple[Sound, tuple[str, ...]]:
    """Synthesizes kind `number` (modulo), 4 to 8 s with faint background: (samples, (caption, paraphrases ...))."""
    caption = tuple(KINDS)[number % len(KINDS)]
    maker, *paraphrases = KINDS[caption]
    sound = maker(rng, rate, rng.uniform(4, 8))
    background = band_noise(rng, len(sound), rate, 60, 4000) * rng.uniform(0.001, 0.02)
    return finished(sound / (np.abs(sound).max() + 1e-9) + background), (caption, *paraphrases)
