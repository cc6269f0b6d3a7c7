"""Images as files: names, metadata, records of how they were drawn, sheets and galleries."""
