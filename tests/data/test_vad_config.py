import pytest

from data_dirs import save
from svtk.data.vad_config import read_vad_config
from svtk.errors import ConfigError


def test_the_configuration_of_kaldis_voxceleb_recipe(tmp_path):
    save(tmp_path / "vad.conf", "--vad-energy-threshold=5.5\n--vad-energy-mean-scale=0.5\n\n# context\n")
    save(tmp_path / "vad.conf", (tmp_path / "vad.conf").read_text() + "--vad-frames-context=2 # frames\n")
    assert read_vad_config(str(tmp_path / "vad.conf")) == {
        "vad_energy_threshold": 5.5,
        "vad_energy_mean_scale": 0.5,
        "vad_frames_context": 2,
    }


def test_of_mfcc_options_those_of_energies_count(tmp_path):
    text = "--sample-frequency=16000\n--frame-length=20 # ms\n--low-freq=20\n--num-ceps=30\n--snip-edges=true\n"
    save(tmp_path / "mfcc.conf", text + "--use-energy=true\n--dither=1\n--raw-energy\n")
    assert read_vad_config(str(tmp_path / "mfcc.conf")) == {
        "frame_length": 20.0,
        "snip_edges": True,
        "raw_energy": True,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "--vad-energy-treshold=5\n",
            "c:1: unknown key 'vad-energy-treshold'. To mend: did you mean 'vad-energy-threshold'",
        ),
        ("\nvad-frames-context=2\n", "c:2: malformed line"),
        ("--vad-frames-context=two\n", "c:1: bad value of 'vad-frames-context'; found 'two'; expected a whole number"),
        ("--snip-edges=yes\n", "c:1: bad value of 'snip-edges'; found 'yes'; expected true or false"),
        ("--sample-frequency=8000\n", "c:1: 'sample-frequency' cannot be had; found 8000; expected 16000"),
        ("--use-energy=false\n", "c:1: 'use-energy' cannot be had"),
        ("--frame-shift=20\n", "c:1: 'frame-shift' cannot be had"),
        (b"\xff\n", "c: cannot read configuration"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message):
    save(tmp_path / "c", text)
    with pytest.raises(ConfigError) as caught:
        read_vad_config(str(tmp_path / "c"))
    assert message in str(caught.value)
