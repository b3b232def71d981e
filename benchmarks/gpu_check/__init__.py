"""All that a machine with a GPU has to tell, in a few minutes: `make gpu-check`."""
