"""The documentation as `make docs` builds it: no dead links, all verbs, nothing fetched by its pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from svtk.cli.main import svtk

ROOT = Path(__file__).parents[2]


def test_the_site(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in svtk.list_commands(None):
        assert f"Usage: svtk {verb} " in (tmp_path / f"verbs/{verb}.html").read_text()
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\bhref="([^"]+)"', page.read_text()
        )
        assert not [url for pair in fetched for url in pair if url.startswith(("http:", "https:", "//"))], page
