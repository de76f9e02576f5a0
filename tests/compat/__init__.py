"""Runs against many versions of Starlette and FastAPI: ``make compat``."""
