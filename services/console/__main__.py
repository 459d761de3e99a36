"""`python -m services.console` is `concordat console`."""

from __future__ import annotations

import sys

from concordat.cli import main

main(["console", *sys.argv[1:]])
