"""The HTTP side: health, metrics, and the API that the command line uses."""
