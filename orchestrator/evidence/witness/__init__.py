"""Others who vouch for a log: what a witness does, and who is asked when."""
