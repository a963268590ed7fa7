"""``svtk verify``."""

from __future__ import annotations

import click

from svtk.cli._options import device_option, no_pipes_option, num_threads_option

_DIFFERENT = 3  # beside 1, failed, and 2, wrong usage


@click.command(
    epilog="\b\nExample:\n  svtk verify exp/demo/sv_mixer a.wav b.m4a\n"
    "  svtk verify --p-target 0.01 --exit-code exp/demo/sv_mixer a.wav b.wav && echo welcome\n"
    "  arecord -q -d 5 -f S16_LE -r 16000 | svtk verify --json exp/demo/sv_mixer a.wav -"
)
@click.option(
    "--calibration",
    metavar="FILE",
    help="What calibrate trained on this model's scores.  [default: MODEL_DIR/calibration.json, if there]",
)
@click.option(
    "--p-target",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Prior probability that the speakers are the same.",
)
@click.option(
    "--c-miss",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Cost of taking one speaker for two.",
)
@click.option(
    "--c-fa",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Cost of taking two speakers for one.",
)
@click.option("--threshold", type=float, help="Decide by the score itself, with no calibration: same from here on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--exit-code", is_flag=True, help=f"Exit with {_DIFFERENT} where the decision is that they are two speakers."
)
@click.option(
    "--raw",
    "raw_rate",
    metavar="HZ",
    type=click.IntRange(min=1),
    help="What comes from stdin has no header: 16-bit little-endian samples, one channel, of this rate.",
)
@click.option("--revision", help="Of a model on the hub: branch, tag or commit.")
@device_option
@num_threads_option
@no_pipes_option
@click.argument("model_dir", metavar="MODEL_DIR|HUB_NAME")
@click.argument("enroll", metavar="A.wav")
@click.argument("test", metavar="B.wav|-")
def command(
    calibration, p_target, c_miss, c_fa, threshold, as_json, exit_code, raw_rate, revision, device, model_dir, **sides
):
    """Tell whether two recordings are of the same speaker.

    Recordings may have any format, rate and number of channels that libsndfile or ffmpeg reads; "-" is stdin, of which
    the score refines, in lines on stderr, while it arrives (until its end, or Ctrl-C). Prints the score (cosine), the
    natural log-likelihood ratio where a calibration is there, and then the decision.
    """
    enroll, test = sides["enroll"], sides["test"]
    if enroll == "-":
        raise click.UsageError("only the second recording may come from stdin")
    if raw_rate is not None and test != "-":
        raise click.UsageError("--raw is for what comes from stdin")
    clock = _Clock()
    import json

    from svtk.api import load
    from svtk.data.any_audio import read_any
    from svtk.score.operating_points import Cost

    model = load(model_dir, device=device, calibration=calibration, revision=revision)
    if exit_code and threshold is None and model.calibration is None:
        raise click.UsageError("--exit-code needs a decision: --threshold, or a calibration")
    clock.lap("load")
    result = {"score": None, "llr": None, "posterior": None, "decision": None, "threshold": threshold}
    cost = Cost(p_target, c_miss, c_fa)
    if model.calibration is not None and threshold is None:
        result |= {"threshold": cost.threshold, "p_target": p_target, "c_miss": c_miss, "c_fa": c_fa}

    def judge(score):
        """*result* with what *score* leads to."""
        llr = None if model.calibration is None else model.llr(score)
        shown = llr if threshold is None else score
        decision = None if shown is None else "same" if shown >= result["threshold"] else "different"
        posterior = None if llr is None else _posterior(llr, p_target)
        return {**result, "score": score, "llr": llr, "posterior": posterior, "decision": decision}

    first, first_seconds = _embedded(model, read_any(enroll), enroll)
    clock.lap("enroll")
    if test == "-":
        second, second_seconds = _heard(model, first, raw_rate, lambda score: _words(judge(score)))
    else:
        second, second_seconds = _embedded(model, read_any(test), test)
    result = judge(model.score(first, second))
    clock.lap("test")
    result |= {"audio_seconds": {"enroll": first_seconds, "test": second_seconds}, "seconds": clock.laps}
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(_table(result))
    if exit_code and result["decision"] == "different":
        click.get_current_context().exit(_DIFFERENT)


class _Clock:
    """Seconds of each lap."""

    def __init__(self):
        import time

        self._now = time.perf_counter
        self._last = self._now()
        self.laps = {}

    def lap(self, name):
        now = self._now()
        self.laps[name], self._last = round(now - self._last, 4), now


def _posterior(llr, p_target):
    """The probability that the speakers are the same."""
    from math import exp, log

    logit = llr + log(p_target / (1 - p_target))
    return 1 / (1 + exp(-logit)) if logit > -700 else 0.0


def _embedded(model, samples, name):
    """Embedding and length in seconds; says so where there is less than the model's window."""
    import logging

    seconds, window = len(samples) / 16_000, model.network.config.window
    if seconds < window:
        logging.info("%s: %.2f s, repeated to fill the model's window of %.2f s", name, seconds, window)
    return model.embed(samples, 16_000), seconds


def _heard(model, first, raw_rate, words):
    """The same of stdin, telling on the way, in *words* of the score, what there is to tell."""
    import sys

    from svtk.data.any_audio import hear
    from svtk.models.streaming import StreamingEmbedder

    stream = StreamingEmbedder(model.network, growth=0)
    for piece in _until_interrupted(hear(sys.stdin.buffer, raw_rate=raw_rate)):
        row = stream.push(piece)
        if row is not None:
            score = model.score(first, row.float().cpu().numpy())
            click.echo(f"{stream.covered / 16_000:6.2f} s  {words(score)}", err=True)
    return stream.finish().float().cpu().numpy(), stream.num_samples / 16_000


def _until_interrupted(pieces):
    """The pieces up to Ctrl-C, which ends a recorder beside us, too: it ends listening, not the verb."""
    import signal

    reading = stopped = False

    def stop(_signal, _frame):
        nonlocal stopped
        stopped = True
        if reading:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        while not stopped:
            reading = True
            try:
                piece = next(pieces)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                reading = False
            yield piece
    finally:
        signal.signal(signal.SIGINT, before)


def _words(result):
    parts = [f"score {result['score']:.4f}"]
    if result["llr"] is not None:
        parts.append(f"llr {result['llr']:.3f}")
    return "  ".join([*parts, *filter(None, [result["decision"]])])


def _table(result):
    rows = [("score", f"{result['score']:.4f}", "cosine")]
    if result["llr"] is not None:
        at = f"probability that they are the same {result['posterior']:.4f}"
        rows.append(("llr", f"{result['llr']:.3f}", f"natural; {at}"))
    if result["decision"] is not None:
        why = f"score threshold {result['threshold']:.4f}"
        if "p_target" in result:
            costs = f"costs {result['c_miss']:g} (miss), {result['c_fa']:g} (false alarm)"
            why = f"prior {result['p_target']:g}, {costs}: llr threshold {result['threshold']:.3f}"
        rows.append(("decision", result["decision"], why))
    else:
        rows.append(("decision", "-", "no calibration (--calibration) and no --threshold"))
    seconds, audio = result["seconds"], result["audio_seconds"]
    spent = seconds["enroll"] + seconds["test"]
    heard = f"for {audio['enroll']:.2f} s and {audio['test']:.2f} s of audio; loading {seconds['load']:.2f} s"
    rows.append(("time", f"{spent:.2f} s", heard))
    width = max(len(value) for _, value, _ in rows)
    return "\n".join(f"{name:<8}  {value:<{width}}  {note}" for name, value, note in rows)
