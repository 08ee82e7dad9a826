"""What stands between two peers: links kept up, data sessions kept fresh, frames carried."""
