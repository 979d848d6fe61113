"""The words: frozen values and protocols. Nothing here reads a clock, a file or a network."""
