"""From prepared files to a trained model, in one process or several, and to its place in the registry."""
