//! MPSL, the end-to-end layer: sans-IO.
