"""Speech synthesis by eSpeak NG through ctypes on the shared library that ``espeakng-loader`` carries.

Only what a synthetic corpus needs: text and a few voice parameters in, samples out. API:
https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile

import numpy as np

from svtk.errors import SvtkError

__all__ = ["ESPEAK_RATE", "Synthesizer"]

#: Sampling rate of what :class:`Synthesizer` speaks, Hz.
ESPEAK_RATE = 22_050

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when the text is spoken
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8 = 1  # espeakCHARS_UTF8
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Synthesizer:
    """eSpeak NG from its initial state.

    The library keeps phases and counters in static variables from one utterance to the next; so each object
    loads its own copy, and the same calls on two objects give the same samples.

    Raises:
        SvtkError: espeakng-loader is not installed or its library does not start.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise SvtkError(
                "speech synthesis needs espeakng-loader, which is not installed",
                mend="pip install 'svtk[demo]', or pip install espeakng-loader",
            ) from error
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, os.path.basename(espeakng_loader.get_library_path()))
            shutil.copyfile(espeakng_loader.get_library_path(), copy)
            library = ctypes.CDLL(copy)
        number, pointer = ctypes.c_uint, ctypes.c_void_p
        library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, number, ctypes.c_int),  # text, size, position, position_type
            *(number, number, pointer, pointer),  # end_position, flags, unique_identifier, user_data
        ]
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(espeakng_loader.get_data_path()), _DONT_EXIT)
        if rate != ESPEAK_RATE:
            raise SvtkError(
                "eSpeak NG did not start",
                found=f"status {rate}",
                expected=f"{ESPEAK_RATE} Hz",
                mend="reinstall espeakng-loader",
            )
        self._library = library
        self._blocks: list[np.ndarray] = []
        self._callback = _Callback(self._collect)  # kept: the library holds only its address
        library.espeak_SetSynthCallback(self._callback)

    def _collect(self, wav, num_samples: int, _events) -> int:
        if wav and num_samples > 0:
            self._blocks.append(np.ctypeslib.as_array(wav, (num_samples,)).copy())
        return 0

    def speak(
        self, text: str, voice: str, *, rate: int = 165, pitch: int = 50, pitch_range: int = 50, seed: int = 0
    ) -> np.ndarray:
        """Speak *text*.

        Args:
            text: what to say.
            voice: eSpeak's voice and variant, e.g. ``en-us+f3``.
            rate: words per minute, 80 to 450.
            pitch: base pitch, 0 to 99.
            pitch_range: liveliness of the pitch, 0 to 99.
            seed: of the voices' breath noise.

        Returns:
            float32 (N,) in [-1, 1] at 22,050 Hz.

        Raises:
            SvtkError: the voice is unknown or nothing was spoken.
        """
        library = self._library
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SvtkError("eSpeak NG has no such voice", found=repr(voice), expected="for example 'en-us+f3'")
        with contextlib.suppress(AttributeError):  # libraries before 1.52 draw breath noise from the clock
            library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, int(value), 0)
        self._blocks.clear()
        data = text.encode()
        status = library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        if status != 0 or not self._blocks:
            raise SvtkError(
                f"eSpeak NG spoke nothing (status {status})", found=repr(text), mend="give it a text with words"
            )
        samples = np.concatenate(self._blocks).astype(np.float32) / 32768
        self._blocks.clear()
        return samples
