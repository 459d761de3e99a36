"""Lines of libraries are JSON too, and none has a URL, a header or a value."""

from __future__ import annotations

import json
import subprocess
import sys

SECRET = "+44 7700 900123"
PROGRAM = """
import logging, logging.config, uvicorn.config
from concordat import telemetry
logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
telemetry.setup("test")
for name in ("httpx", "httpcore", "uvicorn.access", "alembic.runtime.migration", "opentelemetry.sdk.trace"):
    logging.getLogger(name).info("GET https://hub.example/?typed={secret}")
logging.getLogger("opentelemetry.attributes").warning("invalid type of {secret}")
logging.getLogger("uvicorn.error").info("Uvicorn running")
try:
    raise KeyError("{secret}")
except KeyError:
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
"""


def test_what_libraries_log_is_json_without_what_they_were_given() -> None:
    program = PROGRAM.format(secret=SECRET)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert SECRET not in done.stderr + done.stdout
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["Uvicorn running", "Exception in ASGI application"]
    assert lines[1]["error"][0]["type"] == "builtins.KeyError"
