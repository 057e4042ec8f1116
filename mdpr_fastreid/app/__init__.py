"""A page to look with, in the browser: queries, hits, attention, and marks that become training data."""
