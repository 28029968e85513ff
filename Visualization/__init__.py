"""Pictures of what a run did: figures from arrays, and the command lines that draw and save them."""
