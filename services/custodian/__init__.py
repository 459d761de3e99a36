"""One of n independent holders of a share of each token key."""
