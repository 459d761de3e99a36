"""`python -m gateway` is `concordat gateway`."""

from __future__ import annotations

import sys

from concordat.cli import main

main(["gateway", *sys.argv[1:]])
