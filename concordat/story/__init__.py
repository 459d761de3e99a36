"""Stories: what parties can show of a sequence of checks, and whether it holds together, offline (docs/story.md)."""
