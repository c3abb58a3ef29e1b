"""Schemathesis: the server against its own OpenAPI document, with every check there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import KEY, URL
from routes import DOCUMENT

HERE = Path(__file__).parent


def test_the_document_is_served(http):
    assert http.get("/openapi.json").json() == DOCUMENT


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_schemathesis(model, tmp_path):
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(DOCUMENT))
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run", str(file), "--url", URL,
        "-H", f"Authorization: Bearer {KEY}", "--max-examples", os.environ.get("EXAMPLES", "5"), "--no-color",
    ]
    environment = {**os.environ, "ARGAND_MODEL": model}
    ran = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-12000:] + ran.stderr[-1000:]
