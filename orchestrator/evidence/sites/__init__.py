"""The log and the bundles at the sites: what must be put there, and how they come back."""
