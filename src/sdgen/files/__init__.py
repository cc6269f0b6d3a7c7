"""Files as such: opened safely, written whole, and the folders that sdgen keeps."""
