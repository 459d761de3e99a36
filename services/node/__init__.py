"""A country or organisation that has data to be found."""
