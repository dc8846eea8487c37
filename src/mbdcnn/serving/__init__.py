"""The model over HTTP, and a page to use it on."""
