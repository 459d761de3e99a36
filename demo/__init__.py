"""A whole federation on one machine, and the ground truth to hold it against."""
