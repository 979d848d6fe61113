"""What is there: reads, never writes. Start reading in `rules.py`."""
