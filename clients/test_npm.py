"""OpenAI's client for JavaScript, whose cases are in openai.test.mjs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import KEY, URL

HERE = Path(__file__).parent


@pytest.mark.timeout(300)
def test_npm():
    if not shutil.which("node") or not (HERE / "node_modules/openai").exists():
        pytest.skip("there is no node, or `npm ci` was not run")
    environment = {**os.environ, "ARGAND_URL": URL, "ARGAND_KEY": KEY}
    ran = subprocess.run(["node", "--test", "openai.test.mjs"], cwd=HERE, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-6000:]
