"""The model: seeds in, 8-bit RGB pictures and captions out. Knows no queue, no object store and no job."""
