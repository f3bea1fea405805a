"""Images: formats, folders, crops, and batches of what lies on the device or is streamed to it."""
