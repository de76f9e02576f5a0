"""The ledger on disk. SQL lives here and nowhere else."""
