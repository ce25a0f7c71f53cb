"""Bodies on the wire: how they are read and written, whatever they say."""
