"""HTTP bodies: reading and writing them, whichever API they belong to."""
