"""`python -m services.custodian` is `concordat custodian`."""

from __future__ import annotations

import sys

from concordat.cli import main

main(["custodian", *sys.argv[1:]])
