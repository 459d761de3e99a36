"""The node's exchange with a gateway, as cores without I/O and one session at the rim (docs/protocol.md 3.2 to 3.5)."""
