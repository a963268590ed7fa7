"""A small multi-speaker corpus made from nothing: synthetic voices, rooms, channels and noise.

A speaker is a voice variant of eSpeak NG × pitch × liveliness × rate × vocal-tract warp; several
speakers share a variant and differ only by the rest. Every utterance has another sentence, its own room,
channel, level and noise, and strays a little in pitch, rate and warp, so that neither the text nor the
recording tells the speaker. The figures got from it are figures on synthetic speech and should be
labelled so.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile

from svtk.errors import DataError
from svtk.kaldi.text import write_text
from svtk.prepare.espeak import ESPEAK_RATE, Synthesizer
from svtk.progress import progress

__all__ = ["Speaker", "draw_speakers", "make_demo_corpus", "synthetic_rir"]

_SAMPLE_RATE = 16_000
_VERSION = 1  # of the recipe below: a change in it makes another corpus
_PARAMETERS = "corpus.json"

_VARIANTS = {
    "m": tuple(
        [
            "m1",
            "m2",
            "m3",
            "m4",
            "m5",
            "m7",
            "Alex",
            "Andy",
            "Denis",
            "Gene",
            "Lee",
            "Marco",
            "Mario",
            "Michael",
            "adam",
            "antonio",
            "benjamin",
            "boris",
            "caleb",
            "david",
            "edward",
            "ian",
            "john",
            "max",
            "paul",
            "pedro",
            "quincy",
            "robert",
            "travis",
            "zac",
        ]
    ),
    "f": tuple(
        [
            "f1",
            "f2",
            "f3",
            "f4",
            "f5",
            "linda",
            "Alicia",
            "Andrea",
            "Annie",
            "anika",
            "aunty",
            "belinda",
            "grandma",
            "shelby",
            "steph",
            "steph2",
        ]
    ),
}
_STREAM = {"speakers": 0, "utts": 1, "noise": 2, "rirs": 3}  # one random stream for each part of the corpus


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


_WHO = _phrases(
    """
    The old captain, My younger sister, A careful farmer, Nobody in the village, The night watchman, Our
    neighbour, The woman at the counter, A group of students, The new doctor, His grandfather, Every child in the
    class, The tall engineer, A retired teacher, The bus driver, Her best friend, The chief editor, An honest
    lawyer, The quiet gardener
    """
)
_DID = _phrases(
    """
    carried, forgot about, was looking for, quietly repaired, described, would not sell, painted, has never seen,
    found, wanted to borrow, counted, kept talking about, threw away, measured, brought home, photographed
    """
)
_WHAT = _phrases(
    """
    a box of yellow apples, the broken kitchen clock, three heavy suitcases, the map of the harbour, an unusual
    musical instrument, the last piece of cheese, every window in the house, a pair of woollen gloves, the letter
    from the judge, two small grey horses, a bottle of fresh orange juice, the keys of the garage, a very long
    train journey, the church by the river, some photographs of the mountains, the newspaper from Thursday, a
    basket of mushrooms, the blue shirt and the hat
    """
)
_WHEN = _phrases(
    """
    before the sun went down, on a cold morning in February, because of the thunderstorm, while the others were
    asleep, near the bridge, without saying a word, for the third time this year, after the football match, in
    front of the theatre, at half past seven, as soon as the rain stopped, during the long summer holiday, under
    the big oak tree, just for fun, when the telephone rang, although it was quite expensive
    """
)


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A synthetic voice.

    ``pitch`` and ``pitch_range`` are eSpeak's (0 to 99), ``rate`` is in words per minute, ``warp``
    multiplies every formant frequency (above 1: a shorter vocal tract).
    """

    spk: str
    split: str
    sex: str
    variant: str
    pitch: float
    pitch_range: float
    rate: float
    warp: float


def _rng(seed: int, part: str, *index: int) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAM[part], *index])


def draw_speakers(num_spks: int, num_test_spks: int, seed: int) -> list[Speaker]:
    """Draw speakers, women and men in turn; the last *num_test_spks* are the test split.

    Each sex goes round its variants in a shuffled order, so that variants are shared when there are more
    than variants of a sex.
    """
    shuffled = {sex: _rng(seed, "speakers", i).permutation(names) for i, (sex, names) in enumerate(_VARIANTS.items())}
    speakers = []
    for number in range(num_spks):
        rng = _rng(seed, "speakers", 2, number)
        sex = "fm"[number % 2]
        speakers.append(
            Speaker(
                spk=f"spk{number + 1:03d}",
                split="test" if number >= num_spks - num_test_spks else "train",
                sex=sex,
                variant=str(shuffled[sex][number // 2 % len(shuffled[sex])]),
                pitch=float(np.clip(rng.normal(50, 20), 5, 95)),
                pitch_range=float(np.clip(rng.normal(50, 18), 10, 95)),
                rate=float(np.clip(rng.normal(165, 20), 120, 215)),
                warp=float(np.exp(np.clip(rng.normal(0, 0.1), -0.21, 0.21))),
            )
        )
    return speakers


def _sentence(rng: np.random.Generator) -> str:
    parts = (_WHO, _DID, _WHAT, _WHEN) if rng.random() < 0.4 else (_WHO, _DID, _WHAT)
    return " ".join(str(rng.choice(words)) for words in parts) + "."


def _resample(samples: np.ndarray, factor: float) -> np.ndarray:
    """Resample (N,) by an arbitrary factor in the frequency domain; returns about N * factor samples."""
    length = scipy.fft.next_fast_len(len(samples) + 256, real=True)
    target = scipy.fft.next_fast_len(round(length * factor), real=True)
    spectrum = scipy.fft.rfft(samples, length)
    # scipy.fft.irfft crops or pads the spectrum; the factor is off by at most the rounding to a fast length
    return scipy.fft.irfft(spectrum, target)[: round(len(samples) * target / length)] * (target / length)


def _trim(samples: np.ndarray, keep: int) -> np.ndarray:
    """Cut (N,) after its last loud sample plus *keep*."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[: loud[-1] + keep] if loud.size else samples


def speak(synthesizer: Synthesizer, speaker: Speaker, text: str, rng: np.random.Generator) -> np.ndarray:
    """Clean speech (N,) at 16 kHz of *speaker*, straying a little as people do from one day to the next."""
    warp = speaker.warp * np.exp(rng.normal(0, 0.012))
    rate = speaker.rate * np.exp(rng.normal(0, 0.07))
    samples = synthesizer.speak(
        text,
        f"en-us+{speaker.variant}",
        rate=round(np.clip(rate / warp, 85, 400)),
        pitch=round(np.clip(speaker.pitch + rng.normal(0, 4), 0, 99)),
        pitch_range=round(np.clip(speaker.pitch_range + rng.normal(0, 8), 0, 99)),
        seed=int(rng.integers(1 << 30)),
    )
    # played faster by `warp`, every formant (and the pitch) rises by it; the rate was lowered beforehand
    return _trim(_resample(samples, _SAMPLE_RATE / ESPEAK_RATE / warp), _SAMPLE_RATE // 5)


def synthetic_rir(rng: np.random.Generator, reverb_time: float, direct_to_reverberant: float) -> np.ndarray:
    """A room impulse response (N,) at 16 kHz, peak 1 at sample 0: direct path, early echoes, decaying noise.

    Args:
        rng: where the room comes from.
        reverb_time: RT60 in seconds.
        direct_to_reverberant: energy ratio in dB.
    """
    length = round(_SAMPLE_RATE * min(reverb_time, 0.8))
    time = np.arange(length) / _SAMPLE_RATE
    tail = rng.standard_normal(length) * 10 ** (-3 * time / reverb_time)
    tail[: round(0.004 * _SAMPLE_RATE)] = 0
    echoes = rng.integers(round(0.002 * _SAMPLE_RATE), round(0.03 * _SAMPLE_RATE), 5)
    tail[echoes] += rng.normal(0, 2, 5)
    tail *= 10 ** (-direct_to_reverberant / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return (tail / np.abs(tail).max()).astype(np.float32)


def _coloured(rng: np.random.Generator, num_samples: int, slope: float) -> np.ndarray:
    """Noise (N,) of unit power whose power spectrum falls as 1 / f**slope above 30 Hz."""
    length = scipy.fft.next_fast_len(num_samples, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(length))
    spectrum *= np.maximum(scipy.fft.rfftfreq(length, 1 / _SAMPLE_RATE), 30.0) ** (-slope / 2)
    noise = scipy.fft.irfft(spectrum, length)[:num_samples]
    return noise / np.sqrt(np.mean(noise**2))


def _channel(rng: np.random.Generator, frequency: np.ndarray) -> np.ndarray:
    """Gain of a random microphone and line at each frequency (Hz): tilt, ripple, band edges."""
    octave = np.log2(np.maximum(frequency, 50.0) / 1000)
    decibel = rng.normal(0, 0.6) * octave
    for _ in range(3):
        decibel += rng.normal(0, 0.6) * np.cos(octave * rng.uniform(1.0, 4.0) + rng.uniform(0, 2 * np.pi))
    low, high = rng.uniform(50, 250), rng.uniform(5000, 8000)
    decibel -= 10 * np.log10(1 + (low / np.maximum(frequency, 1.0)) ** 4) + 10 * np.log10(1 + (frequency / high) ** 8)
    return 10 ** (decibel / 20)


def record(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put clean speech (N,) into a random room, channel and noise at a random level; returns (N,)."""
    rir = synthetic_rir(rng, rng.uniform(0.1, 0.4), rng.uniform(8, 22))
    length = scipy.fft.next_fast_len(len(speech) + len(rir), real=True)
    spectrum = scipy.fft.rfft(speech, length) * scipy.fft.rfft(rir, length)
    spectrum *= _channel(rng, scipy.fft.rfftfreq(length, 1 / _SAMPLE_RATE))
    wet = scipy.fft.irfft(spectrum, length)[: len(speech)]
    snr = rng.uniform(18, 40)
    wet += _coloured(rng, len(wet), rng.uniform(0, 2)) * np.sqrt(np.mean(wet**2)) * 10 ** (-snr / 20)
    peak = 10 ** (rng.uniform(-18, -1) / 20)
    return (wet * (peak / np.abs(wet).max())).astype(np.float32)


def _noises(synthesizer: Synthesizer, seed: int, seconds: float = 12.0) -> dict[str, np.ndarray]:
    """Named noises (N,) for augmentation: steady, hum, clicks, gusts, and babble of voices that are in no split."""
    num_samples = round(seconds * _SAMPLE_RATE)
    time = np.arange(num_samples) / _SAMPLE_RATE
    noises = {}
    for number, (name, slope) in enumerate((("white", 0.0), ("pink", 1.0), ("brown", 2.0))):
        noises[name] = _coloured(_rng(seed, "noise", number), num_samples, slope)
    for number in range(2):
        rng = _rng(seed, "noise", 10, number)
        base = rng.uniform(45, 120)
        hum = sum(rng.normal(0, 1 / k) * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6)) for k in range(1, 20))
        noises[f"hum{number + 1}"] = hum + 0.1 * _coloured(rng, num_samples, 1.0)
        envelope = np.interp(
            time, np.arange(0, seconds + 1, 0.5), rng.uniform(0.0, 1.0, len(np.arange(0, seconds + 1, 0.5))) ** 2
        )
        noises[f"gusts{number + 1}"] = envelope * _coloured(rng, num_samples, 1.5)
        clicks = np.zeros(num_samples)
        clicks[rng.integers(0, num_samples, 60)] = rng.normal(0, 1, 60)
        decay = rng.standard_normal(1600) * np.exp(-np.arange(1600) / rng.uniform(50, 400))
        noises[f"clicks{number + 1}"] = np.convolve(clicks, decay)[:num_samples] + 0.002 * _coloured(
            rng, num_samples, 1.0
        )
    for number in range(3):
        rng = _rng(seed, "noise", 20, number)
        babble = np.zeros(num_samples)
        for voice in range(5):
            sex = "mf"[voice % 2]
            person = Speaker(
                "",
                "",
                sex,
                str(rng.choice(_VARIANTS[sex])),
                rng.uniform(20, 80),
                50,
                rng.uniform(140, 200),
                float(np.exp(rng.normal(0, 0.1))),
            )
            start = 0
            while start < num_samples:
                speech = speak(synthesizer, person, _sentence(rng), rng)[: num_samples - start]
                babble[start : start + len(speech)] += speech
                start += len(speech) + round(rng.uniform(0, 0.5) * _SAMPLE_RATE)
        noises[f"babble{number + 1}"] = babble
    return {name: (0.5 * noise / np.abs(noise).max()).astype(np.float32) for name, noise in noises.items()}


def _write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, _SAMPLE_RATE, subtype="PCM_16", format="FLAC")


def make_demo_corpus(
    out_dir: str | os.PathLike, *, num_spks: int = 168, num_test_spks: int = 24, utts_per_spk: int = 8, seed: int = 0
) -> bool:
    """Write ``{train,test}/SPK/UTT.flac``, ``speakers.tsv``, ``noise/*.flac`` and ``rirs/*.flac``, 16 kHz mono.

    The corpus appears under *out_dir* when it is whole; before that it is *out_dir*.part.

    Returns:
        False when *out_dir* already holds the corpus of these very parameters, which is then left alone.

    Raises:
        DataError: senseless counts, or *out_dir* holds something else.
        SvtkError: espeakng-loader is not installed.
    """
    out_dir = Path(out_dir)
    if not 0 < num_test_spks < num_spks or utts_per_spk < 1:
        raise DataError(
            "senseless size of a corpus",
            found=f"{num_spks} speakers, {num_test_spks} of them for testing, {utts_per_spk} utterances each",
            expected="0 < test speakers < speakers, and 1 utterance or more",
        )
    parameters = {
        "version": _VERSION,
        "num_spks": num_spks,
        "num_test_spks": num_test_spks,
        "utts_per_spk": utts_per_spk,
        "seed": seed,
    }
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        try:
            existing = json.loads((out_dir / _PARAMETERS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            existing = None
        if existing == parameters:
            logging.info("%s: already there, nothing to do", out_dir)
            return False
        raise DataError(
            "will not write over what is there",
            path=out_dir,
            found="something that is not a demo corpus" if existing is None else f"a demo corpus of {existing}",
            expected=str(parameters),
            mend="remove it or name another directory",
        )
    part = out_dir.with_name(out_dir.name + ".part")
    try:
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(parents=True)
        _fill(part, draw_speakers(num_spks, num_test_spks, seed), utts_per_spk, seed)
        (part / _PARAMETERS).write_text(json.dumps(parameters) + "\n", encoding="utf-8")
        os.replace(part, out_dir)
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"cannot write: {error}", path=part) from error
    return True


def _fill(out_dir: Path, speakers: list[Speaker], utts_per_spk: int, seed: int) -> None:
    synthesizer = Synthesizer()
    utterances = [(i, speaker, utt) for i, speaker in enumerate(speakers) for utt in range(utts_per_spk)]
    for i, speaker, utt in progress(utterances, desc="synthesising"):
        rng = _rng(seed, "utts", i, utt)
        samples = record(speak(synthesizer, speaker, _sentence(rng), rng), rng)
        _write(out_dir / speaker.split / speaker.spk / f"utt{utt + 1:02d}.flac", samples)
    for name, noise in _noises(synthesizer, seed).items():
        _write(out_dir / "noise" / f"{name}.flac", noise)
    for number in range(24):
        rng = _rng(seed, "rirs", number)
        _write(
            out_dir / "rirs" / f"room{number + 1:02d}.flac",
            0.9 * synthetic_rir(rng, rng.uniform(0.15, 0.8), rng.uniform(-2, 12)),
        )
    rows = ("\t".join((s.spk, s.split, s.sex, "0")) for s in speakers)
    write_text(out_dir / "speakers.tsv", ("spk\tsplit\tsex\tage", *rows))
