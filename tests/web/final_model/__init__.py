"""Random histories of what is agreed, against a slow reference that keeps all dates."""
