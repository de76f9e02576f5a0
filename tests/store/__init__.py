"""What the statements of the store must answer, whatever database stands under them."""
