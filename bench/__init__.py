"""Measurements of Concordat's own parts; they need the development environment and are in no wheel."""
