"""The parties that run their own process, one folder a role."""
