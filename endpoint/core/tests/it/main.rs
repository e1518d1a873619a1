//! Endpoints joined through a relay in memory, over the null layer and over MPSL: what a session does as a whole.

mod files;
mod relay;
mod session;
mod world;
