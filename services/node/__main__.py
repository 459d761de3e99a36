"""`python -m services.node` is `concordat node`."""

from __future__ import annotations

import sys

from concordat.cli import main

main(["node", *sys.argv[1:]])
