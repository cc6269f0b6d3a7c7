"""From tasks to stored images: what is drawn together, retried, kept and gone on with."""
