"""One environment over a period → the period report and the service review, in every format."""
