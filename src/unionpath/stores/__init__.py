"""Where bytes live: the only code that touches the outside. One store, one file."""
