"""What every party of a Concordat federation must agree on.

Canonical forms, tokens, identity, the wire and its errors live here; no module of this package imports a service.
"""

__version__ = "0.1.0"
