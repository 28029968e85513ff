"""A trained network as one file that runs elsewhere: pixels in, probabilities out, and all that must be known of it."""
