"""The hub operator's console: web pages fed by the gateway's operator API, and by nothing else."""
