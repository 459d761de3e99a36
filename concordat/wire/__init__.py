"""What travels between the parties, generated from proto/."""
