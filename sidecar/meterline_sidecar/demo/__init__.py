"""A worked example to look at: an API with three customers, served and billed."""
