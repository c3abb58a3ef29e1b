"""What can be asked, by the server's own OpenAPI document."""

import json
from pathlib import Path

DOCUMENT = json.loads((Path(__file__).parent.parent / "crates/argand-server/src/openapi.json").read_text())
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def routes():
    """Method, path with its blanks filled in, and the operation."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                filled = path.replace("{id}", "some-id").replace("{action}", "load")
                yield method.upper(), filled, item[method]


def is_open(operation) -> bool:
    """Whether it is answered without a key."""
    return operation.get("security") == []
