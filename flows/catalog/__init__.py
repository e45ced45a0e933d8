"""Many clips: which, how, in what order, and what became of them."""
