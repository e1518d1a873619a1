//! The protocol held against its written form: vectors, registry, limits, corpora.

#![allow(clippy::unwrap_used)] // a test that finds nothing to unwrap has failed

mod corpus;
mod frames;
mod limits;
mod registry;
mod samples;
mod text;
