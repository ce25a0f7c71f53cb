"""HTTP bodies, connections and headers, independent of any API."""
