"""Where data comes from: built-in sources, the storefront, and the source files that people bring."""
